//go:build !soak

package main

// soak tells that the long tests run as well.
const soak = false
