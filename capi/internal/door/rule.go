package door

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// read are the algorithms of rules that were read, by name. They stay: a text is one algorithm, however often it is read.
var read sync.Map

// Rule is fs_rule's JSON.
func Rule(file, source, prologue, functions string) (string, error) {
	sum := sha256.New()
	for _, s := range []string{file, source, prologue, functions} {
		fmt.Fprintf(sum, "%d %s", len(s), s)
	}
	k := &kind{Name: fmt.Sprintf("%x", sum.Sum(nil)[:16]), Source: file}
	if known, ok := read.Load(k.Name); ok {
		k = known.(*kind)
	} else if err := k.read(file, source, prologue, functions); err != nil {
		text := err.Error()
		if _, placed := errors.AsType[*rule.Error](err); !placed {
			text = file + ": " + text
		}
		return "", &Error{RuleSource, text}
	}
	known, _ := read.LoadOrStore(k.Name, k) // or that of another who has read it meanwhile
	b, err := json.Marshal(known)
	return string(b), err
}

func (k *kind) read(file, source, prologue, functions string) error {
	r, err := rule.Read(file, source, prologue, strings.Fields(functions)...)
	if err != nil {
		return err
	}
	zeros := map[string]float64{}
	for _, name := range optim.RuleHyperparameters(r) {
		zeros[name] = 0
	}
	if k.start, err = optim.FromRule(r, zeros); err != nil {
		return err
	}
	k.describe()
	for i := range k.Arguments {
		if x := &k.Arguments[i]; x.Type == "float" { // it must be given
			x.Default, x.defaults = nil, []float64{math.NaN()}
		}
	}
	return nil
}
