//go:build soak

package main

const soak = true

func init() { kills = 20 }
