package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun: the status is what the error is, and the error is one line.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		stderr string
	}{
		{nil, OK, ""},
		{flag.ErrHelp, OK, ""},
		{errors.New("broken"), Failure, "p: broken\n"},
		{errors.Join(errors.New("one"), errors.New("two")), Failure, "p: one; two\n"},
		{Usagef("-x %d: too large", 7), Usage, "p: -x 7: too large\n"},
		{fmt.Errorf("opening: %w", Usagef("-x: what")), Usage, "p: opening: -x: what\n"},
		{ErrReported, Failure, ""},
		{ErrInterrupted, Interrupted, ""},
	} {
		var stdout, stderr bytes.Buffer
		status := Run("p", nil, &stdout, &stderr, func(_ []string, w io.Writer) error {
			io.WriteString(w, "hello\n")
			return tt.err
		})
		require.Equal(t, tt.status, status, "%v", tt.err)
		require.Equal(t, tt.stderr, stderr.String())
		require.Equal(t, "hello\n", stdout.String())
	}
}

// TestFull: output that does not arrive is a failure, whatever the program makes of it. P1, C7.
func TestFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no full device here")
	}
	defer full.Close()
	for _, result := range []error{nil, flag.ErrHelp, ErrReported, ErrInterrupted} {
		var stderr bytes.Buffer
		status := Run("p", nil, full, &stderr, func(_ []string, w io.Writer) error {
			io.WriteString(w, "hello\n")
			io.WriteString(w, "again\n")
			return result
		})
		require.Equal(t, Failure, status, "%v", result)
		require.Equal(t, "p: write /dev/full: no space left on device\n", stderr.String())
	}
}

// C7: what is not understood is an error of usage, arguments without a flag too.
func TestParse(t *testing.T) {
	parse := func(args ...string) (out string, err error) {
		var b bytes.Buffer
		fs := Flags("p")
		fs.Int("n", 1, "a `number`")
		err = Parse(fs, args, func() { PrintDefaults(fs, &b) })
		return b.String(), err
	}
	_, err := parse("-n", "3")
	require.NoError(t, err)
	for want, args := range map[string][]string{
		`unexpected argument "a b"; p -h prints the manual`:                  {"-n", "3", "a", "b"},
		`invalid value "x" for flag -n: parse error; p -h prints the manual`: {"-n", "x"},
		"flag provided but not defined: -nosuch; p -h prints the manual":     {"-nosuch"},
		"flag needs an argument: -n; p -h prints the manual":                 {"-n"},
	} {
		_, err := parse(args...)
		require.ErrorAs(t, err, new(UsageError))
		require.EqualError(t, err, want)
	}
	out, err := parse("-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Equal(t, "usage: p [flags]\n  -n number\n    \ta number (default 1)\n", out)
}
