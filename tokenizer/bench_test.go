package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lowkeylm/lowkey/format/gguf"
)

// Texts written for these benchmarks, one sample of running prose a script. A sample is cut into sentences and words, which
// are dealt anew, so that long texts do not repeat whole lines.
var samples = map[string]string{
	"english":  `The harbour was quiet when the first boats came in, and the old man on the quay counted them as he did every morning. Twelve had gone out; eleven came back before noon. He asked nobody about the twelfth, because he knew what they would say: that the engine had failed again, that the nets were heavy, that Peter never hurried. By three o'clock the wind had turned and the water looked like hammered tin. "He'll be here before dark," said the woman who sold coffee from the little van. In 1987 the same thing had happened, and then it took 2 days, 14 hours and 6 minutes; people still talk about it. Don't ask me why we'd remember the numbers.`,
	"russian":  `Утром в гавани было тихо, и старик на причале, как всегда, считал возвращающиеся лодки. Двенадцать ушли ночью, одиннадцать вернулись до полудня. Он никого не спрашивал о двенадцатой, потому что знал ответ: снова отказал мотор, сети были тяжёлыми, а Пётр никогда не торопится. К трём часам ветер переменился, и вода стала похожа на кованую жесть. «До темноты придёт», — сказала женщина, продававшая кофе из маленького фургона. В 1987 году случилось то же самое, и тогда ждали двое суток.`,
	"chinese":  `清晨的港口十分安静，码头上的老人像往常一样数着归来的渔船。昨夜出去了十二条，中午之前回来了十一条。他没有向任何人打听第十二条，因为他知道大家会怎么说：发动机又坏了，渔网太沉，彼得从来不着急。下午三点，风向变了，水面看上去像锤打过的锡板。“天黑以前他会回来的。”在小货车里卖咖啡的女人说。一九八七年也发生过同样的事情，那一次人们等了两天两夜，至今还有人提起。`,
	"japanese": `朝の港は静かで、桟橋の老人はいつものように帰ってくる舟を数えていた。夜のうちに十二艘が出て、昼までに十一艘が戻った。残りの一艘のことは誰にも尋ねなかった。エンジンがまた止まったのだろう、網が重かったのだろう、ピーターは決して急がないのだから。三時になると風向きが変わり、水面は打ち延ばしたブリキのように見えた。「暗くなる前に来るわよ」と小さなトラックでコーヒーを売る女が言った。`,
	"arabic":   `كان الميناء هادئا في الصباح، وكان الرجل العجوز على الرصيف يعد القوارب العائدة كما يفعل كل يوم. خرج اثنا عشر قاربا في الليل وعاد أحد عشر قبل الظهر. لم يسأل أحدا عن القارب الأخير لأنه يعرف ما سيقولون: تعطل المحرك مرة أخرى، والشباك ثقيلة، وبطرس لا يستعجل أبدا. وعند الساعة الثالثة تغير اتجاه الريح وصار الماء يشبه الصفيح المطروق.`,
	"code":     "func (t *Table) put(key uint64, value int32) error {\n\tif t.n >= len(t.slots)*3/4 {\n\t\tif err := t.grow(2 * len(t.slots)); err != nil {\n\t\t\treturn fmt.Errorf(\"put %d: %w\", key, err)\n\t\t}\n\t}\n\tfor i := hash(key) & t.mask; ; i = (i + 1) & t.mask {\n\t\tswitch t.slots[i].key {\n\t\tcase 0, key: // free, or ours\n\t\t\tt.slots[i] = slot{key: key, value: value}\n\t\t\treturn nil\n\t\t}\n\t}\n}\n\n// next_power rounds up: 5 -> 8, 1000 -> 1024.\nstatic inline size_t next_power(size_t x) {\n    return x <= 1 ? 1 : 1ULL << (64 - __builtin_clzll(x - 1));\n}\n",
}

// textOf makes about size bytes of a script: words of its sample in random order and of random grouping.
func textOf(script string, size int, seed uint64) string {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := samples[script]
	var units []string
	if kind, ok := strings.CutPrefix(script, "new "); ok {
		return newText(rng, kind, size)
	}
	if script == "chinese" || script == "japanese" {
		runes := []rune(s)
		for i := 0; i < len(runes); {
			n := min(1+rng.IntN(4), len(runes)-i)
			units = append(units, string(runes[i:i+n]))
			i += n
		}
	} else {
		units = strings.SplitAfter(s, " ")
	}
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(units[rng.IntN(len(units))])
	}
	return b.String()
}

// newText makes text in which hardly a word comes twice, so that what was cut before is of no help.
func newText(rng *rand.Rand, kind string, size int) string {
	var b strings.Builder
	pick := func(from []string, least, most int) {
		for range least + rng.IntN(most-least+1) {
			b.WriteString(from[rng.IntN(len(from))])
		}
	}
	for b.Len() < size {
		of := kind
		if kind == "mixed" {
			of = []string{"words", "russian", "chinese", "code", "arabic"}[rng.IntN(5)]
		}
		switch of {
		case "words":
			pick(syllables, 1, 4)
			b.WriteByte(' ')
		case "russian":
			pick(slogi, 1, 4)
			b.WriteByte(' ')
		case "arabic":
			for range 3 + rng.IntN(6) {
				b.WriteRune(rune(0x627 + rng.IntN(36)))
			}
			b.WriteByte(' ')
		case "chinese": // any of some 7,000 characters
			for range 4 + rng.IntN(12) {
				b.WriteRune(rune(0x4e00 + rng.IntN(7000)))
			}
			b.WriteString([]string{"，", "。", "、"}[rng.IntN(3)])
		case "code":
			for range 1 + rng.IntN(3) {
				pick(syllables, 1, 3)
				b.WriteString([]string{"_", ".", "", "("}[rng.IntN(4)])
				if rng.IntN(4) == 0 {
					b.WriteString(strconv.FormatUint(rng.Uint64()>>rng.IntN(60), 16-6*rng.IntN(2)))
				}
			}
			b.WriteString([]string{" := ", ");\n\t", ", ", " {\n\t\t", "] += "}[rng.IntN(5)])
		}
	}
	return b.String()
}

var slogi = strings.Fields("а бел вор гра дно ел жи за ист йка кор лин мо на ост пере рыб сто тур у фин хол цен чай шут щё ы эх юр я ние ский ство ать ова ённ ов")

var syllables = strings.Fields("an bel cor du en fis gra hol in jar kem lin mor nas ol per qua rin sta tur um vel wor xen yit zo ble ther ing tion sha crou pleat und est phy ght ake ose ite")

var scripts = []string{"english", "russian", "chinese", "japanese", "arabic", "code"}

var newScripts = []string{"new words", "new russian", "new arabic", "new chinese", "new code", "new mixed"}

// processorTime is the time the process has used, where the system tells.
var processorTime = func() time.Duration { return 0 }

func benchmarkEncode(b *testing.B, tok *Tokenizer) {
	for _, script := range append(newScripts, scripts...) {
		b.Run(script, func(b *testing.B) {
			var texts [8]string // in turn: what one call has kept is of little help to the next
			for i := range texts {
				texts[i] = textOf(script, 1<<20, uint64(i))[:1<<20]
			}
			b.SetBytes(1 << 20)
			ids := make([]int32, 0, 1<<20)
			before := processorTime()
			rounds := 0
			for b.Loop() {
				ids = tok.AppendEncode(ids[:0], texts[rounds%len(texts)], EncodeOptions{})
				rounds++
			}
			b.ReportMetric(float64(1<<20)/float64(len(ids)), "bytes/token")
			if spent := processorTime() - before; spent > 0 {
				b.ReportMetric(float64(1<<20)*float64(rounds)/spent.Seconds()/1e6, "MB/cpu-s")
			}
		})
	}
}

func benchTokenizer(b *testing.B, path string) *Tokenizer {
	b.Helper()
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%s is not there", filepath.Base(path))
	}
	tok, err := loadGGUF(b, path)
	if err != nil {
		b.Fatal(err)
	}
	tok.model.wait()
	return tok
}

// BenchmarkEncode measures MB/s of every vocabulary at hand, a megabyte of each script.
func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"} {
		b.Run(strings.Split(name, "-")[0], func(b *testing.B) {
			benchmarkEncode(b, benchTokenizer(b, filepath.Join(cacheFolder(b), name)))
		})
	}
	files, _ := filepath.Glob(filepath.Join(vocabFolder(b), "ggml-vocab-*.gguf"))
	for _, file := range files {
		if _, err := os.Stat(file + ".inp"); err != nil || strings.Contains(file, "bert") {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "ggml-vocab-"), ".gguf")
		b.Run(name, func(b *testing.B) { benchmarkEncode(b, benchTokenizer(b, file)) })
	}
}

// BenchmarkLoad measures what loading a vocabulary adds to opening a model (metadata read already), until the first text is encoded,
// and in call-ms until FromGGUF returns: merges are entered in the background.
func BenchmarkLoad(b *testing.B) {
	for _, path := range []string{
		filepath.Join(cacheFolder(b), "SmolLM2-135M-Instruct.Q4_1.gguf"), filepath.Join(cacheFolder(b), "gemma-3-270m-q4_k_m.gguf"),
		filepath.Join(vocabFolder(b), "ggml-vocab-gemma-4.gguf"), filepath.Join(vocabFolder(b), "ggml-vocab-llama-bpe.gguf"),
	} {
		if !exists(path) {
			continue
		}
		f, err := gguf.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.TrimSuffix(filepath.Base(path), ".gguf"), func(b *testing.B) {
			var call time.Duration
			rounds := 0
			for b.Loop() {
				start := time.Now()
				tok, err := FromGGUF(f)
				if err != nil {
					b.Fatal(err)
				}
				call += time.Since(start)
				rounds++
				tok.Encode("a", EncodeOptions{})
			}
			b.ReportMetric(call.Seconds()*1e3/float64(rounds), "call-ms")
		})
		f.Close()
	}
}

// BenchmarkLoadJSON measures FromJSON on a file as large as the largest published ones: Gemma 4's vocabulary written as one.
func BenchmarkLoadJSON(b *testing.B) {
	path := filepath.Join(vocabFolder(b), "ggml-vocab-gemma-4.gguf")
	if !exists(path) {
		b.Skip("no gemma-4 vocabulary")
	}
	f, err := gguf.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	vocab := map[string]int{}
	for id, text := range f.Strings("tokenizer.ggml.tokens") {
		vocab[text] = id
	}
	var merges [][2]string
	source := mergeText(f.Strings("tokenizer.ggml.merges"))
	for i := range source {
		left, right, _ := source.at(i)
		merges = append(merges, [2]string{left, right})
	}
	data, err := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "byte_fallback": true, "vocab": vocab, "merges": merges}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		tok, err := FromJSON(data, nil)
		if err != nil {
			b.Fatal(err)
		}
		tok.Encode("a", EncodeOptions{})
	}
}
