package kvcache

// The text form of codecs: "f16", "q8", or a list by stream, "k=q8,v=q4", "latent=q4h,rope=f16". k and v are aliases where streams are keys and values.

import (
	"fmt"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// Type is how the elements of a stream are stored: a codec, and whether rows are first turned by a Hadamard matrix, which spreads outliers over the row
// (QuaRot, arXiv 2404.00456). Queries or mixes are turned alike, so the attention is the same function.
type Type struct {
	Codec    kernel.Codec
	Hadamard bool
}

// Types lists every type by name, in the order reports show them.
var Types = []Type{{kernel.CodecF32, false}, {kernel.CodecF16, false}, {kernel.CodecBF16, false}, {kernel.CodecQ8, false}, {kernel.CodecQ8, true},
	{kernel.CodecQ4, false}, {kernel.CodecQ4, true}, {kernel.CodecQ4C, false}, {kernel.CodecQ2C, false}}

func (t Type) String() string {
	if t.Hadamard {
		return t.Codec.String() + "h"
	}
	return t.Codec.String()
}

func parseType(s string) (Type, error) {
	var names []string
	for _, t := range Types {
		if t.String() == s {
			return t, nil
		}
		names = append(names, t.String())
	}
	return Type{}, fault.New(fault.BadInput, fmt.Sprintf("--kv type %q", s), "unknown", "known types: "+strings.Join(names, " "), "lowkey plan --against shows what each takes")
}

// Spec is a parsed --kv text: a default type and types by stream name or alias.
type Spec struct {
	Default Type
	byName  map[string]Type
	text    string
}

// ParseSpec reads the text form; empty text means f16.
func ParseSpec(text string) (Spec, error) {
	s := Spec{Default: Type{Codec: kernel.CodecF16}, byName: map[string]Type{}, text: text}
	if text == "" {
		s.text = "f16"
		return s, nil
	}
	for _, part := range strings.Split(text, ",") {
		name, val, named := strings.Cut(strings.TrimSpace(part), "=")
		if !named {
			val = name
		}
		t, err := parseType(strings.TrimSpace(val))
		if err != nil {
			return Spec{}, err
		}
		name = strings.TrimSpace(name)
		switch _, twice := s.byName[name]; {
		case !named && len(s.byName) == 0 && !strings.Contains(text, ","):
			s.Default = t
		case !named:
			return Spec{}, fault.New(fault.BadInput, fmt.Sprintf("--kv %q", text), fmt.Sprintf("part %q names no stream", part), "", "write k=TYPE,v=TYPE or a single TYPE")
		case twice:
			return Spec{}, fault.New(fault.BadInput, fmt.Sprintf("--kv %q", text), fmt.Sprintf("stream %q is given twice", name), "", "name each stream once")
		default:
			s.byName[name] = t
		}
	}
	return s, nil
}

func (s Spec) String() string { return s.text }

// resolve gives each stream of a layout its type. used collects the names that some layout knew.
func (s Spec) resolve(l Layout, used map[string]bool) ([]Type, error) {
	types := make([]Type, len(l.Streams))
	for i, st := range l.Streams {
		types[i] = s.Default
		k, hasK := s.byName["k"]
		v, hasV := s.byName["v"]
		switch {
		case st.Role == Key && hasK:
			types[i], used["k"] = k, true
		case st.Role == Value && hasV:
			types[i], used["v"] = v, true
		case st.Role == Both && (hasK || hasV):
			if _, own := s.byName[st.Name]; !own && (!hasK || !hasV || k != v) {
				return nil, fault.New(fault.Unsupported, "--kv "+s.text, fmt.Sprintf("keys and values are the same bytes here (stream %q)", st.Name),
					"they cannot have different types", fmt.Sprintf("write %s=TYPE", st.Name))
			}
			types[i] = k
			used["k"], used["v"] = true, true
		}
		t, named := s.byName[st.Name]
		if named {
			types[i], used[st.Name] = t, true
		}
		if st.fixed() == "" {
			continue
		}
		fixed, err := parseType(st.fixed())
		if err != nil {
			return nil, err
		}
		if types[i] != fixed && (named || (hasK || hasV) && st.Role != Column) {
			why := "the model was trained so"
			if st.Role == Column {
				why = "a row's columns keep their numbers"
			}
			return nil, fault.New(fault.Unsupported, "--kv "+s.text, fmt.Sprintf("stream %q is stored as %s", st.Name, st.fixed()), why, "leave it out, and name the types of the others")
		}
		types[i] = fixed
	}
	return types, nil
}
