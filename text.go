package lowkey

// Text in and out: chats rendered by the model's template, and the two forms of encoding. A template writes its own start token, so a rendered chat is encoded
// with special tokens parsed and none added; raw text gets the start token that the model asks for, and its own "<|...|>" are text.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/template"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// CheckText refuses a text that is not UTF-8, under the name that people know it by: vocabularies need not have a token for every byte, and what has none would be lost.
func CheckText(name, text string) error {
	for at := 0; at < len(text); {
		r, n := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && n == 1 {
			return fault.New(fault.BadInput, name, fmt.Sprintf("byte %d is 0x%02x", at, text[at]), "the text must be UTF-8", "convert it first (iconv -f latin1 -t utf-8, say)")
		}
		at += n
	}
	return nil
}

// EncodeText encodes raw text as the model expects it at the start of a sequence.
func (m *Model) EncodeText(text string) ([]int32, error) {
	if m.Tokenizer == nil {
		return nil, noTokenizer(m.Path)
	}
	if err := CheckText("text", text); err != nil {
		return nil, err
	}
	if err := m.checkText(len(text)); err != nil {
		return nil, err
	}
	return m.Tokenizer.Encode(text, tokenizer.EncodeOptions{AddBOS: true}), nil
}

// RenderChat writes messages in the model's template, ready for the assistant's answer if answer is set.
func (m *Model) RenderChat(messages []template.Message, answer bool) (string, error) {
	t, err := m.ChatTemplate()
	if err != nil {
		return "", err
	}
	if t == nil {
		return "", noTemplate(m.Path)
	}
	return t.Render(messages, answer)
}

// CheckPrompt refuses a prompt of so many bytes of UTF-8 whose tokens cannot fit the context, whatever they are: before it is read to the end and cut into tokens.
func (m *Model) CheckPrompt(bytes int64) error {
	if m.Tokenizer == nil || bytes <= int64(m.Context) {
		return nil
	}
	return m.tooLong(bytes, m.Tokenizer.AtLeast(bytes))
}

// checkPrompt is CheckPrompt of a text at hand.
func (m *Model) checkPrompt(text string) error {
	if m.Tokenizer == nil || len(text) <= m.Context {
		return nil
	}
	return m.tooLong(int64(len(text)), m.Tokenizer.AtLeastIn(text))
}

func (m *Model) tooLong(bytes, least int64) error {
	if least <= int64(m.Context) {
		return nil
	}
	return fault.New(fault.OverBudget, "prompt", fmt.Sprintf("%d bytes, at least %d tokens", bytes, least), fmt.Sprintf("the context is %d", m.Context), "shorten it, or raise --ctx if the model allows more")
}

// EncodeChat renders and encodes messages. A chat whose text is too long for the context whatever its tokens are is refused.
func (m *Model) EncodeChat(messages []template.Message, answer bool) ([]int32, error) {
	text, err := m.RenderChat(messages, answer)
	if err != nil {
		return nil, err
	}
	if m.Tokenizer == nil {
		return m.EncodeText(text)
	}
	if err := m.checkPrompt(text); err != nil {
		return nil, err
	}
	return m.Tokenizer.Encode(text, tokenizer.EncodeOptions{Special: true}), nil
}

// folderTemplate reads the chat template of a Hugging Face folder: chat_template.jinja, or chat_template in tokenizer_config.json (a text, or a list of named ones).
func folderTemplate(dir string) (string, error) {
	if b, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja")); err == nil {
		return string(b), nil
	}
	path := filepath.Join(dir, "tokenizer_config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return "", nil
	}
	var c struct {
		ChatTemplate json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return "", fault.New(fault.BadFile, path, "not JSON", "", "fetch the folder again").Because(err)
	}
	if len(c.ChatTemplate) == 0 {
		return "", nil
	}
	var text string
	if json.Unmarshal(c.ChatTemplate, &text) == nil {
		return text, nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(c.ChatTemplate, &named); err != nil {
		return "", fault.New(fault.BadFile, path, "chat_template is neither a text nor a list", "", "fetch the folder again, or complete raw text (--raw)").Because(err)
	}
	for _, n := range named {
		if n.Name == "default" {
			return n.Template, nil
		}
	}
	return "", nil
}

// OpenTokenizer reads the tokenizer of a .gguf file or a folder, without its weights.
func OpenTokenizer(path string) (*tokenizer.Tokenizer, error) {
	t, _, err := openText(path)
	if err == nil && t == nil {
		err = noTokenizer(path)
	}
	return t, err
}

func noTokenizer(path string) error {
	return fault.New(fault.Unsupported, path, "the folder has no tokenizer.json", "", "add the tokenizer's files, or give token ids (logits --ids)")
}

// ChatTemplate is a model's template with the tokens that it may write.
type ChatTemplate struct {
	Source   string
	bos, eos string
	parsed   *template.Template
}

// OpenTemplate reads the chat template of a .gguf file or a folder, without its weights.
func OpenTemplate(path string) (*ChatTemplate, error) {
	t, source, err := openText(path)
	if err != nil {
		return nil, err
	}
	if source == "" {
		return nil, noTemplate(path)
	}
	return newTemplate(t, source)
}

func newTemplate(t *tokenizer.Tokenizer, source string) (*ChatTemplate, error) {
	parsed, err := template.Parse(source)
	if err != nil {
		return nil, err
	}
	c := &ChatTemplate{Source: source, parsed: parsed}
	if t != nil && t.BOS() >= 0 {
		c.bos, _ = t.Token(t.BOS())
	}
	if t != nil && t.EOS() >= 0 {
		c.eos, _ = t.Token(t.EOS())
	}
	return c, nil
}

func noTemplate(path string) error {
	return fault.New(fault.Unsupported, path, "no chat template", "it is a base model", "complete raw text instead (--raw)")
}

// Render writes messages ([]template.Message or a value of template.FromJSON), ready for the assistant's answer if answer is set.
func (c *ChatTemplate) Render(messages any, answer bool) (string, error) {
	return c.parsed.Render(template.Input{Messages: messages, AddGenerationPrompt: answer, BOS: c.bos, EOS: c.eos, Now: time.Now()})
}

// openText finds tokenizer (nil for a folder without one) and template source ("" without one).
func openText(path string) (t *tokenizer.Tokenizer, source string, err error) {
	if files, ok := Carried(path); ok {
		t, err = tokenizer.FromJSON(files.Tokenizer, nil)
		return t, "", err
	}
	if st, statErr := os.Stat(path); statErr == nil && st.IsDir() {
		if _, statErr := os.Stat(filepath.Join(path, "tokenizer.json")); statErr != nil {
			return nil, "", nil
		}
		if t, err = tokenizer.FromFolder(path); err != nil {
			return nil, "", err
		}
		source, err = folderTemplate(path)
		return t, source, err
	}
	g, err := gguf.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer g.Close()
	if t, err = tokenizer.FromGGUF(g); err != nil {
		return nil, "", err
	}
	source, _ = g.String("tokenizer.chat_template")
	return t, source, nil
}
