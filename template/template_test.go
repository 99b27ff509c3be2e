package template

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// The template of SmolLM2-135M-Instruct, as its file carries it.
const smolTemplate = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}" +
	"{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

func TestRenderPlainChat(t *testing.T) {
	chat, err := Parse(smolTemplate)
	if err != nil {
		t.Fatal(err)
	}
	want := "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
	var group sync.WaitGroup
	for range 4 { // a Template may be used by several goroutines at once
		group.Go(func() {
			got, err := chat.Render(Input{Messages: []Message{{Role: "user", Content: "Hi"}}, AddGenerationPrompt: true})
			if err != nil || got != want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	group.Wait()
}

func TestErrorsNameThingAndLine(t *testing.T) {
	for _, c := range []struct {
		template string
		kind     fault.Kind
		want     string
	}{
		{"a\nb\n{{ nosuch() }}", fault.BadInput, "chat template line 3: \"nosuch\" is undefined, so it cannot be called"},
		{"\n{{ 'a'|nofilter }}", fault.Unsupported, "chat template line 2: unknown filter \"nofilter\""},
		{"\n\n{% if 1 is notest %}{% endif %}", fault.Unsupported, "chat template line 3: unknown test \"notest\""},
		{"{{ 'a'.nomethod() }}", fault.BadInput, "chat template line 1: a value of type string has no \"nomethod\", so it cannot be called"},
		{"{{ 'a'.encode() }}", fault.Unsupported, "chat template line 1: method str.encode"},
		{"{{ [].append(1) }}", fault.Unsupported, "chat template line 1: method list.append"},
		{"{% include 'x' %}", fault.Unsupported, "chat template line 1: tag {% include %}"},
		{"{% block x %}{% endblock %}", fault.Unsupported, "chat template line 1: tag {% block %}"},
		{"{% frobnicate %}", fault.Unsupported, "chat template line 1: unknown tag {% frobnicate %}"},
		{"\n{% if true %}", fault.BadFile, "chat template line 2: the template ends where {% endif %} is expected"},
		{"{{ 'abc }}", fault.BadFile, "chat template line 1: a string does not end"},
		{"{{ (1 }}", fault.BadFile, "chat template line 1: unexpected \"}\""},
		{"{{ raise_exception('Roles must alternate') }}", fault.BadInput, "chat template: Roles must alternate"},
		{"{{ 1 + 'a' }}", fault.BadInput, "chat template line 1: + is not supported between int and string"},
		{"{{ undefined_thing.role }}", fault.BadInput, "chat template line 1: \"undefined_thing\" is undefined, so it has no attribute \"role\""},
		{"{{ 9223372036854775807 + 1 }}", fault.Unsupported, "chat template line 1: an integer beyond 64 bits"},
		{"{{ 1 / 0 }}", fault.BadInput, "chat template line 1: division by zero"},
		{"\xff", fault.BadFile, "chat template: the text is not valid UTF-8"},
	} {
		_, err := renderText(c.template, Input{})
		if err == nil || err.Error() != c.want || !fault.Is(err, c.kind) {
			t.Errorf("%q: got %v, want %s (%v)", c.template, err, c.want, c.kind)
		}
	}
}

// TestHostileTemplatesEnd renders templates that try to take all time or memory; each must end in an error of kind OverBudget.
func TestHostileTemplatesEnd(t *testing.T) {
	double := func(grow string) string {
		return "{% set ns = namespace(x='ab', l=[1], m=[1], t=(1,)) %}{% for i in range(100) %}" + grow + "{% endfor %}"
	}
	for name, source := range map[string]string{
		"endless loops":        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
		"a long range":         "{% for a in range(10**12) %}{% endfor %}",
		"an odd range":         "{{ range(-9223372036854775807, 9223372036854775807)|length }}",
		"a long text":          "{{ 'a' * 10**12 }}",
		"a long text reversed": "{{ (10**15) * 'ab' }}",
		"a long list":          "{{ [1] * 10**12 }}",
		"doubling":             double("{% set ns.x = ns.x ~ ns.x %}"),
		"doubling with +":      double("{% set ns.x = ns.x + ns.x %}"),
		"doubling by join":     double("{% set ns.x = [ns.x, ns.x]|join %}"),
		"doubling by replace":  double("{% set ns.x = ns.x.replace('a', ns.x) %}"),
		"doubling by format":   double("{% set ns.x = '{0}{0}'.format(ns.x) %}"),
		"doubling by percent":  double("{% set ns.x = '%s%s' % (ns.x, ns.x) %}"),
		"doubling by a block":  double("{% set b %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = b %}"),
		"doubling by tojson":   double("{% set ns.x = [ns.x, ns.x]|tojson %}"),
		"doubling by escape":   double("{% set ns.x = (ns.x ~ '&')|e ~ '' %}{% set ns.x = ns.x ~ ns.x %}"),
		"doubling lists":       double("{% set ns.l = ns.l + ns.l %}"),
		"shared lists, text":   double("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l }}",
		"shared lists, json":   double("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l|tojson }}",
		"shared lists, equal":  double("{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}") + "{{ ns.l == ns.m }}",
		"shared tuples, key":   double("{% set ns.t = (ns.t, ns.t) %}") + "{{ {ns.t: 1} }}",
		"a ring":               "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
		"macros without end":   "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"macros, two ways":     "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
		"loops without end":    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"filters over filters": "{% set ns = namespace(g=['a']) %}{% for i in range(9999) %}{% set ns.g = ns.g|map('upper') %}{% endfor %}{{ ns.g|list }}",
		"padding":              "{{ 'a'.ljust(10**12) }}",
		"centring":             "{{ 'a'|center(10**12) }}",
		"zero filling":         "{{ '1'.zfill(10**12) }}",
		"a wide format":        "{{ '%999999999d' % 1 }}",
		"a wide brace format":  "{{ '{:999999999}'.format(1) }}",
		"a precise format":     "{{ '{:.999999999f}'.format(1.5) }}",
		"a wide indent":        "{{ 'a\nb'|indent(10**12) }}",
		"a wide JSON indent":   "{{ [1]|tojson(indent=10**12) }}",
		"batches":              "{{ [1]|batch(10**12, 0)|list }}",
		"slices":               "{{ [1]|slice(10**12)|list }}",
		"output":               "{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}",
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{Steps: 2_000_000, Output: 4 << 20, Memory: 32 << 20, Depth: 200} // about a tenth of the default, to be quick
			got, err := renderText(source, Input{Limits: &limits})
			if !fault.Is(err, fault.OverBudget) {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestDeepTemplatesEnd parses and renders templates nested so deeply that recursion without a bound would exhaust the stack.
func TestDeepTemplatesEnd(t *testing.T) {
	const n = 200_000
	for name, source := range map[string]string{
		"parentheses": "{{ " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) + " }}",
		"lists":       "{{ " + strings.Repeat("[", n) + strings.Repeat("]", n) + " }}",
		"minus":       "{{ " + strings.Repeat("- ", n) + "1 }}",
		"not":         "{{ " + strings.Repeat("not ", n) + "1 }}",
		"else":        "{{ " + strings.Repeat("1 if 0 else ", n) + "1 }}",
		"if":          strings.Repeat("{% if 1 %}", n) + strings.Repeat("{% endif %}", n),
		"elif":        "{% if 0 %}" + strings.Repeat("{% elif 0 %}", n) + "{% endif %}",
		"for":         strings.Repeat("{% for a in b %}", n),
		"sum":         "{{ 1" + strings.Repeat(" + 1", n) + " }}",
		"and":         "{{ 1" + strings.Repeat(" and 1", n) + " }}",
		"attributes":  "{{ a" + strings.Repeat(".a", n) + " }}",
		"calls":       "{{ a" + strings.Repeat("()", n) + " }}",
		"filters":     "{{ a" + strings.Repeat("|trim", n) + " }}",
		"target":      "{% for " + strings.Repeat("(", n) + "a",
		"inline ifs":  "{{ 1" + strings.Repeat(" if 1", n) + " }}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := renderText(source, Input{Extra: map[string]any{"a": "x"}})
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestLimitsOfCaller(t *testing.T) {
	chat, err := Parse("{% for i in range(100) %}abc{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits
	limits.Output = 299
	if _, err := chat.Render(Input{Limits: &limits}); !fault.Is(err, fault.OverBudget) {
		t.Fatalf("299 bytes: %v", err)
	}
	limits.Output = 300
	if got, err := chat.Render(Input{Limits: &limits}); err != nil || len(got) != 300 {
		t.Fatalf("300 bytes: %d, %v", len(got), err)
	}
	limits.Steps = 50
	if _, err := chat.Render(Input{Limits: &limits}); !fault.Is(err, fault.OverBudget) {
		t.Fatalf("50 steps: %v", err)
	}
}

func TestToValue(t *testing.T) {
	type other struct{}
	got, err := renderText("{{ v }}", Input{Extra: map[string]any{"v": map[string]any{
		"z": 1, "a": []any{true, nil, 2.0, "x", []string{"y"}, uint64(math.MaxUint64)}, "m": Message{"user", "Hi"},
	}}})
	want := "{'a': [True, None, 2.0, 'x', ['y'], 18446744073709551615], 'm': {'role': 'user', 'content': 'Hi'}, 'z': 1}"
	if err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	deep := any(1)
	for range 1000 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{"a struct": other{}, "bad UTF-8": "\xff", "a bad key": map[string]any{"\xff": 1}, "depth": deep, "a bad message": []Message{{"user", "\xff"}}} {
		if _, err := renderText("", Input{Messages: v}); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoneAndUndefinedDiffer: a variable that is None is there, one that was not given is not.
func TestNoneAndUndefinedDiffer(t *testing.T) {
	got, err := renderText("{{ tools is defined }} {{ tools is none }} {{ documents }} {{ enable_thinking is defined }}{{ enable_thinking }}", Input{})
	if want := "True True None False"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFromJSON(t *testing.T) {
	v, err := FromJSON([]byte(` {"b": 1, "a": [1.0, -0, 1e2, "\u00e9\ud83d\ude00\n", true, false, null, {}, []], "b": 12345678901234567890, "c": 0.1} `))
	if err != nil {
		t.Fatal(err)
	}
	got, err := renderText("{{ v }}|{{ v|tojson }}", Input{Extra: map[string]any{"v": v}})
	want := `{'b': 12345678901234567890, 'a': [1.0, 0, 100.0, 'é😀\n', True, False, None, {}, []], 'c': 0.1}|{"b": 12345678901234567890, "a": [1.0, 0, 100.0, "é😀\n", true, false, null, {}, []], "c": 0.1}`
	if err != nil || got != want {
		t.Errorf("got  %s %v\nwant %s", got, err, want)
	}
	for _, bad := range []string{"", " ", "{", "[", "[1", "[1,]", "[,1]", "{\"a\":1,}", "{,}", "{a:1}", "{\"a\"}", "{\"a\" 1}", "01", "-", "1.", ".5", "1e", "+1", "nul", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\n\"",
		"1 2", "\xff", "NaN", strings.Repeat("[", 100_000), strings.Repeat("{\"a\":", 100_000), strings.Repeat("9", 5000)} {
		if _, err := FromJSON([]byte(bad)); !fault.Is(err, fault.BadInput) {
			t.Errorf("%.40q: got %v", bad, err)
		}
	}
}
