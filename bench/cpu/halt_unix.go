//go:build unix

package main

import "syscall"

func (p *peer) halt() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *peer) wake() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
