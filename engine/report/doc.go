// Package report is the border between the engine and the program around it. A job reads from Files and gives all that
// it produces to a Host: result files, metrics, events, progress and the failure that ends it. The engine knows no
// browser and no socket; who implements Host decides where the bytes go.
package report
