package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"linreg": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }
