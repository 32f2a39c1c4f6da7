//go:build soak

package main

import "time"

const soak = true

func init() { kills, training = 20, time.Hour }
