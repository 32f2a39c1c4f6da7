// Package job runs one job of the engine from its message to the message that ends it: train, eval, generate, export,
// plan, preview, describe or bench. It opens the model, the data and the device, and calls the package that does the work.
package job
