// Package template renders the chat templates that model files carry: Jinja, as Python's Jinja2 renders it in the setting of Hugging Face transformers (trim_blocks, lstrip_blocks, loop controls, generation blocks, no HTML
// escaping, an immutable sandbox).
//
// It holds a lexer, a parser and a tree-walking evaluator of that dialect with Python's values: None differs from undefined, maps keep the order of their keys, numbers and lists print as Python prints them.
// It will not load other templates (include, import, extends, block are refused by name), escape HTML by itself, or change the lists and maps it is given. Every Render is bounded by Limits, so a hostile template ends in an error.
package template

import (
	"fmt"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

// Template is a parsed chat template. It is immutable: any number of goroutines may Render it at once.
type Template struct {
	body []stmt
}

// Message is one turn of a plain chat; it renders as a map with the keys role and content.
type Message struct {
	Role    string
	Content string
}

// Input is what a template sees. The zero value of a field is what Hugging Face passes when the caller gives nothing: None for Tools and Documents, false, an empty string.
type Input struct {
	Messages            any            // []Message, []any, or an ordered value from FromJSON
	Tools               any            // a list of tool descriptions; nil is None
	Documents           any            // a list of documents; nil is None
	AddGenerationPrompt bool           // end with the opening of an assistant turn
	BOS, EOS            string         // text of bos_token and eos_token
	Now                 time.Time      // the clock of strftime_now; the zero time means time.Now()
	Extra               map[string]any // further variables, such as enable_thinking; they come last and may replace the ones above
	Limits              *Limits        // nil means DefaultLimits
}

// Limits bound one Render.
type Limits struct {
	Steps  int64 // evaluated nodes, and elements touched by filters and operators
	Output int   // bytes of the rendered text, and of any one string built on the way
	Memory int64 // bytes of all strings, lists and maps built in the course of the render, counted when built and never given back
	Depth  int   // nested macro calls, recursive loops and values inside values
}

// DefaultLimits are above what published templates need: a chat of 1,000 turns takes them up to 100,000 steps, one that looks at all turns for each of them (Gemma 4) 3 million. A hostile template ends within seconds, with a heap of
// some hundred MB.
var DefaultLimits = Limits{Steps: 20_000_000, Output: 32 << 20, Memory: 256 << 20, Depth: 200}

// maxSource is the longest template accepted, in bytes; published ones stay below 64 KiB.
const maxSource = 4 << 20

// Parse reads a template. The error is a *fault.Error of kind BadFile where the text is no valid template, of kind Unsupported where it uses a construct, filter or test this package does not know; both name it and its line.
func Parse(source string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, fault.New(fault.BadFile, "chat template", fmt.Sprintf("%d bytes", len(source)), fmt.Sprintf("at most %d bytes are read", maxSource), "")
	}
	defer func() {
		if p := recover(); p != nil {
			failure, ok := p.(*failure)
			if !ok {
				panic(p)
			}
			t, err = nil, failure.fault()
		}
	}()
	p := &parser{tokens: lex(source)}
	body := p.parseTemplate()
	return &Template{body: body}, nil
}

// Render runs the template. Errors are *fault.Error: BadInput where the template refuses the conversation (raise_exception) or applies an operation its values do not have, Unsupported for a function or method this package lacks,
// OverBudget where a limit was reached.
func (t *Template) Render(in Input) (text string, err error) {
	r := &renderer{limits: DefaultLimits, now: in.Now}
	if in.Limits != nil {
		r.limits = *in.Limits
	}
	if r.now.IsZero() {
		r.now = time.Now()
	}
	vars := make(map[string]Value, 8+len(in.Extra))
	for _, v := range []struct {
		name  string
		value any
	}{
		{"messages", in.Messages}, {"tools", in.Tools}, {"documents", in.Documents}, {"add_generation_prompt", in.AddGenerationPrompt}, {"bos_token", in.BOS}, {"eos_token", in.EOS},
	} {
		if vars[v.name], err = ToValue(v.value); err != nil {
			return "", fault.New(fault.BadInput, "chat template variable "+v.name, err.Error(), "", "")
		}
	}
	for name, value := range in.Extra {
		if vars[name], err = ToValue(value); err != nil {
			return "", fault.New(fault.BadInput, "chat template variable "+name, err.Error(), "", "")
		}
	}
	defer func() {
		if p := recover(); p != nil {
			failure, ok := p.(*failure)
			if !ok {
				panic(p)
			}
			text, err = "", failure.fault()
		}
	}()
	var out strings.Builder
	r.out = &out
	root := &scope{vars: vars, parent: nil}
	r.execBody(t.body, &scope{parent: root})
	return out.String(), nil
}

// failure travels as a panic from the place that finds an error to Parse or Render, which turn it into a *fault.Error; it never leaves the package.
type failure struct {
	kind fault.Kind
	line int
	text string
	hint string
}

func (f *failure) fault() *fault.Error {
	thing := "chat template"
	if f.line > 0 {
		thing = fmt.Sprintf("chat template line %d", f.line)
	}
	return fault.New(f.kind, thing, f.text, f.hint, "")
}
