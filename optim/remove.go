package optim

import (
	"errors"
	"fmt"
	"slices"
)

// RemoveGroup removes a group with its tensors. It waits for the steps enqueued so far and frees the state. The other groups keep
// their indices, and the group's own is not used again. All other tensors stay as they are, to the last bit. Names are free
// again. A program that resumes adds and removes groups in the same order, so that indices mean the same.
func (o *Optimizer) RemoveGroup(group int) error {
	g, err := o.group("remove group", group)
	if err != nil {
		return err
	}
	return o.remove(g.params, func() error {
		o.groups[group] = nil
		return g.free()
	})
}

// Remove removes tensors from their groups. A group may be left without tensors. Remove waits for the steps enqueued so far and
// frees the prologue's counters. The tensors' own state is freed with the last of the tensors that were added by the same call and
// have the same types. All other tensors stay as they are, to the last bit. Names are free again. If there is no tensor of one of
// the names, none is removed.
func (o *Optimizer) Remove(tensors ...string) error {
	if err := o.open("remove"); err != nil {
		return err
	}
	var gone []*param
	is := map[*param]bool{}
	for _, name := range tensors {
		p, err := o.tensor("remove", name)
		if err != nil {
			return err
		}
		if !is[p] {
			is[p] = true
			gone = append(gone, p)
		}
	}
	return o.remove(gone, func() error {
		groups := map[*group]bool{}
		var errs []error
		for _, p := range gone {
			groups[p.group] = true
			p.part.changed = true
			errs = append(errs, p.free())
		}
		without := func(params []*param) []*param {
			return slices.DeleteFunc(slices.Clone(params), func(p *param) bool { return is[p] })
		}
		for g := range groups {
			g.params, g.moves = without(g.params), nil
			for _, q := range g.parts {
				if q.params = without(q.params); len(q.params) == 0 {
					errs = append(errs, q.close())
				}
			}
			g.parts = slices.DeleteFunc(g.parts, func(q *part) bool { return len(q.params) == 0 })
		}
		return errors.Join(errs...)
	})
}

// remove forgets tensors. Launches that step one of them are closed first, since they use what is freed.
func (o *Optimizer) remove(gone []*param, free func() error) error {
	if slices.ContainsFunc(gone, func(p *param) bool { return p.part.recorded }) {
		return fmt.Errorf("optim: remove: nothing was removed: %w", ErrRecorded)
	}
	if len(gone) > 0 {
		o.stale, o.memory.unmade = true, true
		o.norm.moved()
		o.sums.moved()
	}
	parts := map[*part]bool{}
	for _, p := range gone {
		delete(o.names, p.Name)
		parts[p.part] = true
	}
	var closed, left []*launch
	for _, l := range o.launches {
		if slices.ContainsFunc(l.parts, func(q *part) bool { return parts[q] }) {
			closed = append(closed, l)
			for _, q := range l.parts {
				q.changed = true
			}
			continue
		}
		left = append(left, l)
	}
	o.launches = left
	err := errors.Join(closeLaunches(closed), o.norm.close(), o.sums.close(), o.eval.close())
	if err := errors.Join(err, free()); err != nil {
		return fmt.Errorf("optim: tensors were removed, but what they had could not be freed: %w", err)
	}
	return nil
}
