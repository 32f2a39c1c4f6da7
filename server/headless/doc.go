// Package headless starts a Chromium without a window and controls its tabs. When a Browser is closed, or this program
// dies, the processes of the browser end. Its profile folder is removed by Close; after a death of this program that could
// not be caught, the next Start removes it.
package headless
