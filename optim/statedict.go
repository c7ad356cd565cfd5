package optim

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// StateDict is what an optimizer is between two steps: all that later steps depend on but the gradients. Optimizer.StateDict makes one,
// Optimizer.LoadStateDict makes an optimizer of one. It can be iterated, printed and compared: Tensors, Numbers, String, Differences. JSON has all of
// it but the numbers of tensors, which stand beside it where it is stored: see Numbers.
//
// A dict that another program made, as of a state_dict of PyTorch, may leave out what it does not know: each field says what that means.
type StateDict struct {
	Steps        int             // Optimizer.Steps
	AppliedSteps int             // of an Outcome; where JSON has none, Steps less SkippedSteps
	SkippedSteps int             // of an Outcome
	Outcome      *OutcomeState   // nil: no step was measured
	Around       *AroundState    // nil: the optimizer's stays
	Schedule     json.RawMessage // of groups that are added later, as GroupState.Schedule
	Groups       []GroupState    // by index, without those that were removed
	// Extra is the program's own, such as an epoch or the position in its data. A load does not look at it.
	Extra map[string]string

	// ScalerState is that of the GradScaler, which the optimizer must have, in a dict that says no more of what is around. Nil: it stays.
	ScalerState *GradScalerState

	memory []byte // of the numbers of a snapshot
	verify func() error
}

// OutcomeState is the Outcome of the last step.
type OutcomeState struct {
	GradNorm  float64 `json:"grad_norm"` // JSON has numbers that are not finite as Named does
	Skipped   bool    `json:"skipped"`
	FoundInf  bool    `json:"found_inf"`
	LossScale float64 `json:"loss_scale"`
}

// AroundState is what is done around the steps of all groups.
type AroundState struct {
	ScheduleCounts ScheduleCounts   `json:"schedule_counts"`
	ClipNorm       float64          `json:"clip_norm"`        // +Inf, which JSON has as "inf", measures alone
	ClipTensorNorm float64          `json:"clip_tensor_norm"` // likewise, +Inf clips nothing
	ClipValue      float64          `json:"clip_value"`
	AdaptiveClip   *AdaptiveClip    `json:"adaptive_clip,omitempty"` // of SetAdaptiveClip; nil: it is off
	Skip           Skip             `json:"skip"`
	ZeroGrad       bool             `json:"zero_grad"`
	Accumulate     bool             `json:"accumulate"`
	Accumulated    int              `json:"accumulated"` // calls of Accumulate since the last step
	GradScaler     *GradScaler      `json:"grad_scaler"` // nil: there is none
	ScalerState    *GradScalerState `json:"grad_scaler_state,omitempty"`
}

// AdaptiveClip is what SetAdaptiveClip was given.
type AdaptiveClip struct {
	Clipping float64 `json:"clipping"`
	Eps      float64 `json:"eps"`
}

// GroupState is a parameter group's.
type GroupState struct {
	Index int `json:"index"`
	// Algorithm is the name of the type that is within Stored, Averaged and Regularized: "AdamW"; of the user's own with the path of its package.
	Algorithm string `json:"algorithm"`
	// Setting is what the hyperparameters come to, with which a load compares what it has restored. Nil: nothing is compared.
	Setting *SettingState `json:"setting,omitempty"`
	// Hyperparameters are Optimizer.Hyperparameters. Nil: the group's stay; without a Setting, those that are left out do.
	Hyperparameters Named `json:"hyperparameters,omitempty"`
	// LastLR is Optimizer.LastLR. Nil: the group's stays.
	LastLR *float64 `json:"last_lr,omitempty"`
	// LastHyper is what the rule's hyperparameters were in the last step, by the rule's names. Nil: the group has taken none.
	LastHyper Named `json:"last_hyper,omitempty"`
	// Schedule is that of the learning rate, such as {"type":"warmup","start":0,"steps":100,"then":{…}}, and {"type":"none"} where there is none. Nil:
	// the group's stays. A schedule of the user's own type is named alone, and a load keeps the group's of that type.
	Schedule json.RawMessage `json:"schedule,omitempty"`
	// Schedules are those of other hyperparameters. Nil: the group's stay.
	Schedules map[string]json.RawMessage `json:"schedules,omitempty"`
	Tensors   []TensorState              `json:"tensors"` // in the order of Optimizer.Params
}

// SettingState is a rule.Setting.
type SettingState struct {
	Rule           string   `json:"rule"`
	Options        []string `json:"options"` // that are on
	Hyper          Named    `json:"hyper"`   // by the rule's names
	Maximize       bool     `json:"maximize"`
	L1             float64  `json:"l1"`
	WeightDecay    float64  `json:"weight_decay"`
	DecoupledDecay float64  `json:"decoupled_decay"`
	EMA            bool     `json:"ema"`
	EMADecay       float64  `json:"ema_decay"`
	Formats        string   `json:"formats"`
	Master         string   `json:"master"`
	Stochastic     bool     `json:"stochastic"`
	Seed           uint64   `json:"seed,string"` // of stochastic rounding: a load restores it
}

// TensorState is a tensor's.
type TensorState struct {
	Name     string `json:"name"`
	Shape    []int  `json:"shape"`              // Param.Shape; a load compares the number of elements, and how many rows and columns have state
	Counters Named  `json:"counters,omitempty"` // Optimizer.TensorCounters; "step" alone is enough, as for SetTensorCounters
	Summed   bool   `json:"summed,omitempty"`   // gradients were accumulated since the last step
	Adopted  bool   `json:"adopted,omitempty"`  // the master beside the value is the tensor's: the next step does not look at the value
	// Filled is what state that starts at a hyperparameter was filled with, of a tensor that has not taken a step.
	Filled  Named     `json:"filled,omitempty"`
	Numbers []Numbers `json:"-"` // value and state
}

// Numbers are a tensor's numbers in a slot: little endian bytes of its elements, as memory holds them.
type Numbers struct {
	Slot  string // ParamSlot of the value; of state as Optimizer.States has it: "exp_avg", "master", "ema", "grad_accumulator"
	DType device.DType
	Len   int // elements; of state that rows or columns have as many as these are, and 1 of what the tensor has once
	read  func(lo int, to []byte) error
}

// ParamSlot is the slot of a tensor's value in a StateDict.
const ParamSlot = rule.Param

// NewNumbers are numbers that are wherever read finds them. Read is called with an element and memory for whole elements from it on, of which there
// are as many; not by two goroutines at once by this package.
func NewNumbers(slot string, t device.DType, n int, read func(lo int, to []byte) error) Numbers {
	return Numbers{slot, t, n, read}
}

// Read fills memory with whole elements, from element lo on.
func (n Numbers) Read(lo int, to []byte) error {
	size := n.DType.Size()
	if n.read == nil || size == 0 || len(to)%size != 0 || lo < 0 || lo > n.Len || len(to)/size > n.Len-lo {
		return fmt.Errorf("optim: numbers of %s: %d bytes from element %d on are not %d elements of %s: %w", n.Slot, len(to), lo, n.Len, n.DType, device.ErrRange)
	}
	if len(to) == 0 {
		return nil
	}
	return n.read(lo, to)
}

// VerifyWith has a load call verify when it knows that everything fits and before it changes anything, as where numbers are in a file that has
// checksums.
func (d *StateDict) VerifyWith(verify func() error) { d.verify = verify }

// Tensors are all tensors, each with its group, in order.
func (d *StateDict) Tensors() iter.Seq2[*GroupState, *TensorState] {
	return func(yield func(*GroupState, *TensorState) bool) {
		for i := range d.Groups {
			g := &d.Groups[i]
			for k := range g.Tensors {
				if !yield(g, &g.Tensors[k]) {
					return
				}
			}
		}
	}
}

// Slot finds a tensor's numbers.
func (t *TensorState) Slot(slot string) (Numbers, bool) {
	for _, n := range t.Numbers {
		if n.Slot == slot {
			return n, true
		}
	}
	return Numbers{}, false
}
