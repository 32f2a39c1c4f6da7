// Package memory keeps the parameters of a model on a device: base weights, adapter, gradients and AdamW's moments, at the
// places that plan.Layout gives them. It loads their first values from the files of a pretrained.Model and reads them back
// for results and checkpoints. A tape finds its parameters here by key (Parameters.Find).
package memory
