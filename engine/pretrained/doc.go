// Package pretrained reads and writes what folders hold: a base model, a PEFT adapter, an added head, the weights of a
// checkpoint. Open makes a Model of a Hugging Face folder; Adapt, AddAdapter and AddHead add to it; a Writer writes it
// again. Values of parameters stay in the files: package memory brings them to a device.
//
// Conventions: Hugging Face transformers for model folders, Hugging Face PEFT for adapters, safetensors for weights.
package pretrained
