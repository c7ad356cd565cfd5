package cpu

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// group is a control group that limits memory: the process's own, or one that this lies in.
type group struct {
	dir         string
	limit, used string   // files, of one number each
	cache       []string // what memory.stat calls the cache of files, which counts as used but gives way
}

// memoryGroups are all of the process's groups that can be seen, in both versions of the interface.
func memoryGroups(root string) (groups []group) {
	paths := groupPaths(root)
	mounts, _ := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	for line := range strings.Lines(string(mounts)) {
		// 36 35 98:0 / /sys/fs/cgroup rw,noatime shared:1 - cgroup2 cgroup2 rw
		f := strings.Fields(line)
		sep := slices.Index(f, "-")
		if sep < 5 || len(f) < sep+4 {
			continue
		}
		within, at := unescape(f[3]), unescape(f[4])
		switch fs, options := f[sep+1], strings.Split(f[sep+3], ","); {
		case fs == "cgroup2":
			groups = append(groups, upwards(root, at, within, paths[""], v2)...)
		case fs == "cgroup" && slices.Contains(options, "memory"):
			groups = append(groups, upwards(root, at, within, paths["memory"], v1)...)
		}
	}
	if len(groups) == 0 { // where the mounts are not told, in the usual place
		groups = upwards(root, "/sys/fs/cgroup", "/", "/", v2)
	}
	return groups
}

// groupPaths reads /proc/self/cgroup: the path of the process's group, by controller; version 2 has none.
func groupPaths(root string) map[string]string {
	paths := map[string]string{}
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(text)) {
		// 4:cpu,memory:/user.slice or 0::/user.slice
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for controller := range strings.SplitSeq(f[1], ",") {
				paths[controller] = f[2]
			}
		}
	}
	return paths
}

func v2(dir string) group {
	return group{dir, "memory.max", "memory.current", []string{"active_file", "inactive_file"}}
}

func v1(dir string) group {
	return group{dir, "memory.limit_in_bytes", "memory.usage_in_bytes", []string{"total_active_file", "total_inactive_file"}}
}

// upwards are the groups from path up to the top of a mount, which shows the hierarchy from within on. A path that is not in there
// is of another namespace; then the top is all that is known.
func upwards(root, at, within, path string, version func(string) group) (groups []group) {
	top := filepath.Join(root, at)
	rest, err := filepath.Rel(within, filepath.Clean("/"+path))
	if err != nil || rest == ".." || strings.HasPrefix(rest, "../") {
		rest = "."
	}
	for dir := filepath.Join(top, rest); ; dir = filepath.Dir(dir) {
		groups = append(groups, version(dir))
		if dir == top || len(dir) <= len(top) {
			return groups
		}
	}
}

// usage is the group's limit and what it has used of it, if it has a limit.
func (g group) usage() (limit, used int64, ok bool) {
	limit, err1 := number(filepath.Join(g.dir, g.limit)) // "max" is none
	used, err2 := number(filepath.Join(g.dir, g.used))
	if err1 != nil || err2 != nil {
		return 0, 0, false
	}
	stat, _ := numbers(filepath.Join(g.dir, "memory.stat"))
	for _, name := range g.cache {
		used -= stat[name]
	}
	return limit, used, true
}

// unescape undoes what mountinfo does to spaces and the like: \040.
func unescape(s string) string {
	before, after, found := strings.Cut(s, `\`)
	if !found || len(after) < 3 {
		return s
	}
	c, err := strconv.ParseUint(after[:3], 8, 8)
	if err != nil {
		return s
	}
	return before + string([]byte{byte(c)}) + unescape(after[3:])
}
