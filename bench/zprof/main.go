package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
"runtime/pprof"
	"time"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

func usage(who int) (u, s time.Duration) {
	var r syscall.Rusage
	syscall.Getrusage(who, &r)
	return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
}

func main() {
	dir := os.Args[1]
	dev := cpu.New()
	var ps []optim.Param
	for i := 0; i < 10000; i++ {
		n := 1024
		v, _ := dev.Alloc(device.Float32, n)
		g, _ := dev.Alloc(device.Float32, n)
		ps = append(ps, optim.Param{Value: v, Grad: g})
	}
	o, err := optim.New(dev, optim.DefaultAdamW(), ps)
	if err != nil {
		panic(err)
	}
	o.Step(nil)
	f,_:=os.Create("/tmp/resume/cpu.prof");pprof.StartCPUProfile(f);defer pprof.StopCPUProfile();for range 10 {
		began := time.Now()
		var last time.Duration
		u0, s0 := usage(0)
		err = checkpoint.Save(dir+"/x", o, nil, func(done, total int64) {
			if done < total {
				last = time.Since(began)
			}
		})
		if err != nil {
			panic(err)
		}
		u1, s1 := usage(0)
		fmt.Println("save", time.Since(began), "written at", last, "user", u1-u0, "sys", s1-s0)
		os.Remove(dir + "/x")
		u0, s0 = usage(-1)
		began = time.Now()
		exec.Command("dd", "if=/dev/zero", "of="+dir+"/y", "bs=8M", "count=192", "conv=fsync").Run()
		u1, s1 = usage(-1)
		fmt.Println("dd", time.Since(began), "user", u1-u0, "sys", s1-s0)
		os.Remove(dir + "/y")
		u0, s0 = usage(0)
		began = time.Now()
		d, err := o.StateDict(nil)
		u1, s1 = usage(0)
		fmt.Println("snapshot", time.Since(began), "user", u1-u0, "sys", s1-s0, err)
		_ = d
	}
}
