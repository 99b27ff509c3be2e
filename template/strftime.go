package template

// strftime_now: Python's datetime.strftime as the C library of Linux formats it in the C locale. The clock has no zone, as datetime.now() has none, so %z and %Z give nothing.

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func (r *renderer) strftime(format string) string {
	var b strings.Builder
	t := r.now
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		start := i
		i++
		flag := byte(0)
		for strings.IndexByte("-_0^#", format[i]) >= 0 && i+1 < len(format) {
			flag = format[i]
			i++
		}
		text, ok := strftimeField(t, format[i], flag)
		if !ok {
			text = format[start : i+1]
		}
		b.WriteString(text)
	}
	r.charge(b.Len())
	return b.String()
}

// strftimeField formats one conversion; flag - leaves out padding, _ pads with spaces, 0 with zeros, ^ makes capitals.
func strftimeField(t time.Time, c, flag byte) (string, bool) {
	number := func(n, width int, pad byte) string {
		switch flag {
		case '-':
			return strconv.Itoa(n)
		case '_':
			pad = ' '
		case '0':
			pad = '0'
		}
		s := strconv.Itoa(n)
		return strings.Repeat(string(pad), max(0, width-len(s))) + s
	}
	word := func(s string) string {
		if flag == '^' || flag == '#' {
			return strings.ToUpper(s)
		}
		return s
	}
	hour12 := (t.Hour()+11)%12 + 1
	year, week := t.ISOWeek()
	switch c {
	case 'a':
		return word(t.Format("Mon")), true
	case 'A':
		return word(t.Format("Monday")), true
	case 'b', 'h':
		return word(t.Format("Jan")), true
	case 'B':
		return word(t.Format("January")), true
	case 'c':
		return t.Format("Mon Jan _2 15:04:05 2006"), true
	case 'C':
		return number(t.Year()/100, 2, '0'), true
	case 'd':
		return number(t.Day(), 2, '0'), true
	case 'D', 'x':
		return t.Format("01/02/06"), true
	case 'e':
		return number(t.Day(), 2, ' '), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'F':
		return t.Format("2006-01-02"), true
	case 'g':
		return number(year%100, 2, '0'), true
	case 'G':
		return number(year, 4, '0'), true
	case 'H':
		return number(t.Hour(), 2, '0'), true
	case 'I':
		return number(hour12, 2, '0'), true
	case 'j':
		return number(t.YearDay(), 3, '0'), true
	case 'k':
		return number(t.Hour(), 2, ' '), true
	case 'l':
		return number(hour12, 2, ' '), true
	case 'm':
		return number(int(t.Month()), 2, '0'), true
	case 'M':
		return number(t.Minute(), 2, '0'), true
	case 'n':
		return "\n", true
	case 'p':
		if flag == '#' {
			return t.Format("pm"), true
		}
		return t.Format("PM"), true
	case 'P':
		return t.Format("pm"), true
	case 'r':
		return t.Format("03:04:05 PM"), true
	case 'R':
		return t.Format("15:04"), true
	case 's':
		return strconv.FormatInt(t.Unix(), 10), true
	case 'S':
		return number(t.Second(), 2, '0'), true
	case 't':
		return "\t", true
	case 'T', 'X':
		return t.Format("15:04:05"), true
	case 'u':
		return number((int(t.Weekday())+6)%7+1, 1, '0'), true
	case 'U':
		return number((t.YearDay()-1+7-int(t.Weekday()))/7, 2, '0'), true
	case 'V':
		return number(week, 2, '0'), true
	case 'w':
		return number(int(t.Weekday()), 1, '0'), true
	case 'W':
		return number((t.YearDay()-1+7-(int(t.Weekday())+6)%7)/7, 2, '0'), true
	case 'y':
		return number(t.Year()%100, 2, '0'), true
	case 'Y':
		return number(t.Year(), 4, '0'), true
	case 'z', 'Z':
		return "", true
	case '%':
		return "%", true
	}
	return "", false
}
