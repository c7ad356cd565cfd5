package safetensors

import "path/filepath"

// Index reads the index of a model in several files, as Hugging Face's libraries write it: {"metadata":{…},"weight_map":{"name":"file"}}. Entries are
// the tensors' names and the files that they are in, which are names without a folder. What is wrong is an Error.
func Index(text []byte) (tensors []Entry, err error) {
	found := false
	err = Scan(text, func(s *Scanner) error {
		return s.Object(func(key string) error {
			if key != "weight_map" {
				return s.Skip()
			}
			found = true
			return s.Object(func(name string) error {
				file, err := s.String()
				if err == nil && (filepath.Base(file) != file || !filepath.IsLocal(file) || file == ".") {
					err = s.errorf("tensor %q is in %q, which is no name of a file in the index's folder", name, file)
				}
				tensors = append(tensors, Entry{name, file})
				return err
			})
		})
	})
	switch {
	case err != nil:
		return nil, fault("the index is not as it should be: %v", err)
	case !found:
		return nil, fault("the index has no \"weight_map\"")
	}
	return tensors, nil
}
