// Package pretrained reads and writes folders: a base model, a PEFT adapter, an added head, the weights of a checkpoint. Open
// reads a Hugging Face folder into a Model. Adapt, AddAdapter and AddHead add to the model. A Writer writes it. The values of
// parameters stay in the files until package memory copies them to a device (Model.Sources).
//
// Conventions: Hugging Face transformers for model folders, Hugging Face PEFT for adapters, safetensors for weights.
package pretrained
