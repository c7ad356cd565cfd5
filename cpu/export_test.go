package cpu

// Implementations are the names of those that this machine and build can run.
func Implementations() (names []string) {
	for _, i := range implementations() {
		names = append(names, i.name)
	}
	return names
}
