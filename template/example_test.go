package template_test

import (
	"fmt"

	"github.com/lowkeylm/lowkey/template"
)

func Example() {
	chat, err := template.Parse("{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := chat.Render(template.Input{Messages: []template.Message{{Role: "user", Content: " Why is the sky blue? "}}, AddGenerationPrompt: true})
	fmt.Printf("%q %v\n", text, err)
	// Output: "<|user|>Why is the sky blue?\n<|assistant|>" <nil>
}

// Maps from FromJSON keep the order of their keys, which tool descriptions in a prompt depend on.
func ExampleFromJSON() {
	tools, err := template.FromJSON([]byte(`[{"name": "weather", "city": "string", "days": 3}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	chat, err := template.Parse("{{ tools[0] | tojson }}")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(chat.Render(template.Input{Tools: tools}))
	// Output: {"name": "weather", "city": "string", "days": 3} <nil>
}
