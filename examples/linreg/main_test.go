package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"linreg": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
