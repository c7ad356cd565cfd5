package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fusestep/fusestep/internal/gpu"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"linreg": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Condition: condition})
}

// condition says for [cuda] whether this build can have GPUs.
func condition(name string) (bool, error) { return name == "cuda" && gpu.Built, nil }
