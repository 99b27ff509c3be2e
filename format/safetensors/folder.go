// This file opens the tensors of a Hugging Face folder, which are one file or an index with shards.

package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/internal/mmap"
)

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
)

// OpenFolder opens dir's model.safetensors or, without one, the shards of its model.safetensors.index.json, as one File.
//
// The index decides: tensors of a shard that it does not list are left out, and one that it lists must be in the shard
// it names. Shards must lie in dir itself (a link to elsewhere is followed, as the Hugging Face cache is made of links).
// Metadata is the union of the shards'; of two values of a key, the one from the shard first by name stays.
func OpenFolder(dir string) (*File, error) {
	f, err := Open(filepath.Join(dir, singleName))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	index := filepath.Join(dir, indexName)
	weights, err := readIndex(index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.BadInput, dir, "holds no safetensors model", fmt.Sprintf("%s or %s is needed", singleName, indexName), "name the folder of a model, as pull, train or import leave it")
	}
	if err != nil {
		return nil, err
	}
	return openShards(dir, index, weights)
}

func openShards(dir, index string, weights map[string]string) (_ *File, err error) {
	byShard := map[string][]string{}
	for name, shard := range weights {
		byShard[shard] = append(byShard[shard], name)
	}
	shards := make([]string, 0, len(byShard))
	for shard := range byShard {
		shards = append(shards, shard)
	}
	sort.Strings(shards)

	all := &File{entries: make(map[string]entry, len(weights))}
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	for _, shard := range shards {
		f, err := Open(filepath.Join(dir, shard))
		if err != nil {
			return nil, err
		}
		all.maps = append(all.maps, f.maps...)
		for _, name := range byShard[shard] {
			e, ok := f.entries[name]
			if !ok {
				return nil, fault.New(fault.BadFile, index, fmt.Sprintf("puts tensor %q into %s", clip(name), shard), "that file does not hold it", "download the folder again")
			}
			all.entries[name] = e
			all.names = append(all.names, name)
		}
		for key, value := range f.Metadata {
			if all.Metadata == nil {
				all.Metadata = map[string]string{}
			}
			if _, present := all.Metadata[key]; !present {
				all.Metadata[key] = value
			}
		}
	}
	sort.Strings(all.names)
	return all, nil
}

// readIndex gives the index's weight_map, tensor name to file name, every file name checked.
func readIndex(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxHeader {
		return nil, fault.New(fault.BadFile, path, fmt.Sprintf("%d bytes", info.Size()), fmt.Sprintf("at most %d are allowed", maxHeader), "fetch the file again")
	}
	m, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return parseIndex(path, m.Bytes())
}

func parseIndex(thing string, data []byte) (map[string]string, error) {
	p := &parser{thing: thing}
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, p.bad("is not valid JSON", "")
	}
	p.json = json.NewDecoder(bytes.NewReader(data))
	p.json.UseNumber()
	var weights map[string]string
	err := p.object("the index", func(key string) error {
		if key != "weight_map" {
			return p.skip()
		}
		if weights != nil {
			return p.bad("weight_map appears twice", "")
		}
		weights = map[string]string{}
		return p.object("weight_map", func(name string) error {
			file, err := p.text(fmt.Sprintf("weight_map %q", clip(name)))
			if err != nil {
				return err
			}
			if why := badName(name); why != "" {
				return p.bad(fmt.Sprintf("tensor name %q", clip(name)), why)
			}
			if _, twice := weights[name]; twice {
				return p.bad(fmt.Sprintf("tensor %q appears twice", clip(name)), "")
			}
			// A bare file name only: no folder, no drive, no way out of the folder, on any system.
			if file == "" || file == "." || file == ".." || strings.ContainsAny(file, `/\:`) || badName(file) != "" || !filepath.IsLocal(file) {
				return p.bad(fmt.Sprintf("tensor %q is in file %q", clip(name), clip(file)), "shards must lie in the folder itself")
			}
			weights[name] = file
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if weights == nil {
		return nil, p.bad("has no weight_map", "")
	}
	return weights, nil
}
