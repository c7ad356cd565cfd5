package rule

import (
	"fmt"
	"reflect"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Function makes the graph of a float64 function of two structs, one read and one written, that is no rule of its own but is
// written as one, and compares it with the compiled function as New does. Its banks are 0 and 1.
func Function[In, Out any](fn func(*In, *Out), source string) (*ir.Func, error) {
	name, file := funcName(fn)
	parsed, err := syntax.Parse(file, source, lang)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	sf, err := parsed.Function(name, syntax.Read, syntax.Write)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	f, err := sf.Lower(64, 0)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	for _, err := range []error{sameStruct[In](sf.Banks[0], reflect.Float64), sameStruct[Out](sf.Banks[1], reflect.Float64)} {
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", name, err)
		}
	}
	err = compare(f, func(vars []float64) {
		var in In
		var out Out
		copy(numbers[float64](&in), vars)
		copy(numbers[float64](&out), vars[len(numbers[float64](&in)):])
		fn(&in, &out)
		copy(vars[len(numbers[float64](&in)):], numbers[float64](&out))
	}, float64Of)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	return f, nil
}
