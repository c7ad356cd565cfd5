//go:build amd64 && !purego

package cpu

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rules"
)

// inRefused is the variable by which TestRefused finds that it is the process without executable memory.
const inRefused = "FUSESTEP_TEST_REFUSED"

// Where the system refuses executable memory, steps run on tiles, and everybody can see it.
func TestRefused(t *testing.T) {
	const setMDWE, refuseGain = 65, 1 // PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
	if os.Getenv(inRefused) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRefused$", "-test.v")
		cmd.Env = append(os.Environ(), inRefused+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		if strings.Contains(string(out), "--- SKIP") {
			t.Skipf("NOTE: refusal was not tried:\n%s", out)
		}
		return
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setMDWE, refuseGain, 0, 0, 0, 0); errno != 0 {
		t.Skipf("the system has no PR_SET_MDWE: %v", errno)
	}
	require.ErrorIs(t, MachineCode(), syscall.EACCES)
	all := Implementations()
	d := NewThreads(1)
	defer d.Close()
	require.Equal(t, all[len(all)-1], d.Implementation())
	for _, name := range all[1:] {
		require.True(t, strings.HasSuffix(name, "-tiles"), name)
	}
	if !hasAVX2() {
		t.Skip("no vector code here")
	}
	p := newProgram(t, kernels.Spec{Rule: rules.AdamRule().Rule, Compute: device.Float32})
	stressSteps(t, d, p, 100, 1)
	_, err := d.Listing(p)
	require.ErrorIs(t, err, device.ErrUnsupported)

	t.Setenv(Environment, "avx2")
	d = NewThreads(1)
	defer d.Close()
	_, err = d.Compile(kernels.Work{Program: p})
	require.ErrorIs(t, err, syscall.EACCES)
	require.ErrorContains(t, err, "cpu: FUSESTEP_CPU=avx2: this machine and build can run scalar, avx2-tiles")
}
