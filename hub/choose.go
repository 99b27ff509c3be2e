package hub

// This file picks, from the names in a repository, the files that make one model. It knows names only; it will not look into files.

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// file is one file of a repository at one commit.
type file struct {
	name string // path in the repository, with slashes
	size int64  // bytes, -1 if not known yet
	hash string // hex: SHA-256 of the content (64 digits) or SHA-1 of the git blob (40 digits), "" if not known yet
}

// selection is the files to fetch and the one to open.
type selection struct {
	files []file
	main  string // name of the file to open, "" for the folder
}

// small are the files beside the weights of a safetensors folder that a loader may read.
var small = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "model.safetensors.index.json",
}

var (
	shardName = regexp.MustCompile(`^(.*)-([0-9]{5})-of-([0-9]{5})(\.gguf|\.safetensors)$`)
	// quantName finds what a quantisation is called within a file's name: Q4_K_M, IQ2_XXS, BF16, UD-Q4_K_XL and the like.
	quantName = regexp.MustCompile(`(?i)(?:^|[^a-z0-9])((?:ud-)?(?:i?q[0-9](?:_[a-z0-9]+)*|tq[0-9]_[0-9]|mxfp4(?:_moe)?|bf16|fp?16|fp?32))(?:$|[^a-z0-9_])`)
)

// choose picks the GGUF of a quantisation, or the safetensors folder; see Request.Quant. The names must have passed safeName.
func choose(repo string, files []file, quant string) (selection, error) {
	groups := ggufGroups(files)
	weights := slices.ContainsFunc(files, func(f file) bool {
		return strings.HasSuffix(f.name, ".safetensors") && !strings.Contains(f.name, "/")
	})
	if quant == "" && weights {
		return chooseFolder(repo, files)
	}
	if len(groups) == 0 {
		switch {
		case weights:
			return selection{}, fault.New(fault.BadInput, repo+":"+quant, "no GGUF files", "the repository has safetensors", "pull "+repo+" without :"+quant)
		case len(files) == 0:
			return selection{}, fault.New(fault.BadInput, repo, "no files at all", "", "check the name and the revision")
		}
		return selection{}, fault.New(fault.Unsupported, repo, "no .gguf and no .safetensors among its "+strconv.Itoa(len(files))+" files",
			"lowkey reads these two formats", "look for a repository of the same model whose name ends in -GGUF")
	}
	found := match(groups, quant)
	if quant == "" {
		if found = groups; len(groups) > 1 {
			found = match(groups, "Q4_K_M")
		}
	}
	switch len(found) {
	case 1:
		return found[0].whole(repo)
	case 0:
		example := groups[0]
		if usual := match(groups, "Q4_K_M"); len(usual) == 1 {
			example = usual[0]
		}
		return selection{}, fault.New(fault.BadInput, repo, wanted(quant), "there are "+describe(groups), "write "+repo+":"+example.label())
	}
	return selection{}, fault.New(fault.BadInput, repo, strconv.Quote(quant)+" names "+strconv.Itoa(len(found))+" files", "they are "+describeNames(found),
		"write the whole name after the colon")
}

func wanted(quant string) string {
	if quant == "" {
		return "no quantisation given and no Q4_K_M"
	}
	return "no quantisation " + strconv.Quote(quant)
}

// group is one GGUF model: one file, or the parts of a split one.
type group struct {
	name  string // file name, for a split one that of its first part
	parts []file // sorted by name
	of    int    // how many parts there should be
}

// ggufGroups gathers the GGUF models in a repository, without vision projectors and importance matrices, which are no models.
func ggufGroups(files []file) []group {
	byKey := map[string]*group{}
	var keys []string
	for _, f := range files {
		base := strings.ToLower(path.Base(f.name))
		if !strings.HasSuffix(base, ".gguf") || strings.HasPrefix(base, "mmproj") || strings.Contains(base, "imatrix") {
			continue
		}
		key, of := f.name, 1
		if m := shardName.FindStringSubmatch(f.name); m != nil {
			key = m[1] + "-of-" + m[3]
			of, _ = strconv.Atoi(m[3])
		}
		g := byKey[key]
		if g == nil {
			g = &group{of: of}
			byKey[key] = g
			keys = append(keys, key)
		}
		g.parts = append(g.parts, f)
	}
	var groups []group
	for _, key := range keys {
		g := byKey[key]
		slices.SortFunc(g.parts, func(a, b file) int { return strings.Compare(a.name, b.name) })
		g.name = g.parts[0].name
		groups = append(groups, *g)
	}
	return groups
}

// whole is the group as a selection, if no part is missing.
func (g group) whole(repo string) (selection, error) {
	if err := checkParts(repo, g.parts, g.of); err != nil {
		return selection{}, err
	}
	return selection{g.parts, g.parts[0].name}, nil
}

// checkParts refuses a set of shards with holes.
func checkParts(repo string, parts []file, of int) error {
	if of == 1 && len(parts) == 1 {
		return nil
	}
	for i := range of {
		number := fmt.Sprintf("-%05d-of-", i+1)
		if i >= len(parts) || !strings.Contains(parts[i].name, number) {
			return fault.New(fault.BadFile, repo, fmt.Sprintf("%s: part %d of %d is missing", parts[0].name, i+1, of), "", "pull another quantisation, or tell the repository's owner")
		}
	}
	if len(parts) > of {
		return fault.New(fault.BadFile, repo, fmt.Sprintf("%s: %d parts, named as %d", parts[0].name, len(parts), of), "", "pull another quantisation, or tell the repository's owner")
	}
	return nil
}

// match finds the groups that a quantisation, or a whole file name, means. Letters' case does not matter; Q4_K does not mean Q4_K_M.
func match(groups []group, quant string) []group {
	by := func(yes func(g group) bool) []group {
		var found []group
		for _, g := range groups {
			if yes(g) {
				found = append(found, g)
			}
		}
		return found
	}
	if found := by(func(g group) bool { return g.name == quant || path.Base(g.name) == quant }); len(found) > 0 {
		return found
	}
	if found := by(func(g group) bool { return strings.EqualFold(g.label(), quant) }); len(found) > 0 {
		return found
	}
	if found := by(func(g group) bool { return hasWord(path.Base(g.name), quant) }); len(found) > 0 {
		return found
	}
	return by(func(g group) bool { return hasWord(path.Dir(g.name), quant) })
}

// hasWord reports whether word stands in name with no letter, digit or _ on either side.
func hasWord(name, word string) bool {
	if word == "" {
		return false
	}
	found, err := regexp.MatchString(`(?i)(?:^|[^a-z0-9_])`+regexp.QuoteMeta(word)+`(?:$|[^a-z0-9_])`, name)
	return err == nil && found
}

// label is the group's quantisation as its name says, or else the file's name.
func (g group) label() string {
	base := path.Base(g.name)
	if all := quantName.FindAllStringSubmatch(base, -1); all != nil {
		return all[len(all)-1][1]
	}
	return base
}

func describe(groups []group) string {
	return describeBy(groups, group.label)
}

func describeNames(groups []group) string {
	return describeBy(groups, func(g group) string { return g.name })
}

func describeBy(groups []group, name func(group) string) string {
	const most = 40
	var all []string
	for i, g := range groups {
		if i == most {
			all = append(all, fmt.Sprintf("and %d more", len(groups)-most))
			break
		}
		var size int64
		for _, f := range g.parts {
			size += max(f.size, 0)
		}
		text := printable(name(g))
		if size > 0 {
			text += " (" + bytesText(size) + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// chooseFolder picks configuration, tokenizer and weights at the top of the repository.
func chooseFolder(repo string, files []file) (selection, error) {
	var chosen, single, shards, other []file
	var config, index bool
	for _, f := range files {
		switch {
		case slices.Contains(small, f.name):
			config = config || f.name == "config.json"
			index = index || f.name == "model.safetensors.index.json"
			chosen = append(chosen, f)
		case f.name == "model.safetensors":
			single = append(single, f)
		case strings.HasPrefix(f.name, "model-") && shardName.MatchString(f.name):
			shards = append(shards, f)
		case strings.HasSuffix(f.name, ".safetensors") && !strings.Contains(f.name, "/"):
			other = append(other, f)
		}
	}
	if !config {
		return selection{}, fault.New(fault.Unsupported, repo, "safetensors without a config.json", "lowkey needs the model's configuration", "look for the base model's repository (this one may hold an adapter)")
	}
	switch {
	case len(shards) > 0 && (index || len(single) == 0):
		slices.SortFunc(shards, func(a, b file) int { return strings.Compare(a.name, b.name) })
		of, _ := strconv.Atoi(shardName.FindStringSubmatch(shards[0].name)[3])
		if err := checkParts(repo, shards, of); err != nil {
			return selection{}, err
		}
		chosen = append(chosen, shards...)
	case len(single) > 0:
		chosen = append(chosen, single...)
	default:
		chosen = append(chosen, other...)
	}
	return selection{chosen, ""}, nil
}

// safeName reports whether a name from the hub is a plain relative path: on no system can it leave the folder it is put in.
func safeName(name string) bool {
	if name == "" || len(name) > 1024 || strings.ContainsAny(name, "\\\x7f") || path.Clean(name) != name {
		return false
	}
	for _, c := range name {
		if c < ' ' {
			return false
		}
	}
	return !strings.HasPrefix(name, "/") && name != "." && name != ".." && !strings.HasPrefix(name, "../") && filepath.IsLocal(filepath.FromSlash(name))
}

// printable keeps a server's text from writing control characters to a terminal, and short.
func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return s
}

// bytesText writes a size as people read it, in decimal units.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
