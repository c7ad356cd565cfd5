//go:build cuda

// Command devices imports gorgonia.org/cu and asks for the number of devices, on a machine without a driver.
package main

import (
	"fmt"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"gorgonia.org/cu"
)

func main() {
	_, err := cu.NumDevices()
	fmt.Println("devices:", err)
	fmt.Println("reason given:", driver.LoadError() != nil)
}
