// Package shaders embeds the WGSL kernels and turns them into the text that a pipeline is made from.
//
// A file is valid WGSL at its defaults once its imports are pasted. These marked lines are processed:
//
//	//@import NAME                                  paste lib/NAME.wgsl, once
//	const WG: u32 = 64u;            //@param        replace the value
//	alias Elem = f32;               //@param        replace the type
//	enable subgroups;               //@if NAME      keep the line only where the boolean parameter NAME is true
//	for (var i = 0u; i < TM; i++) { //@unroll       repeat the body with i a constant, up to
//	}                               //@end          this line
//
// Unrolling makes every array index a constant, so that a driver can keep the array in registers.
package shaders

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.wgsl lib/*.wgsl
var files embed.FS

// Names lists the kernel files, without their ending.
func Names() []string {
	entries, _ := fs.Glob(files, "*.wgsl")
	for i, e := range entries {
		entries[i] = strings.TrimSuffix(e, ".wgsl")
	}
	return entries
}

// Source returns the WGSL of a kernel file with imports pasted, parameters set and loops unrolled.
// A parameter that the file does not declare is an error.
func Source(name string, params map[string]any) (string, error) {
	text, err := files.ReadFile(name + ".wgsl")
	if err != nil {
		return "", fmt.Errorf("shaders: no file %s.wgsl", name)
	}
	out, err := Expand(string(text), params)
	if err != nil {
		return "", fmt.Errorf("shaders: %s.wgsl: %w", name, err)
	}
	return out, nil
}

var (
	importLine = regexp.MustCompile(`^\s*//@import (\w+)\s*$`)
	constLine  = regexp.MustCompile(`^(\s*const (\w+)(?:: (\w+))? = )([^;]+)(;.*)//@param`)
	aliasLine  = regexp.MustCompile(`^(\s*alias (\w+) = )([^;]+)(;.*)//@param`)
	ifLine     = regexp.MustCompile(`^(.*)//@if (!?)(\w+)\s*$`)
	unrollLine = regexp.MustCompile(`^\s*for \(var (\w+) = (\w+); \w+ < ([^;]+); \w+(\+\+| \+= (\w+))\) \{\s*//@unroll\s*$`)
	endLine    = regexp.MustCompile(`^\s*\}\s*//@end\s*$`)
)

// Expand pastes the imports of a WGSL text, sets its parameters and unrolls its loops.
func Expand(text string, params map[string]any) (string, error) {
	lines, err := paste(strings.Split(text, "\n"), map[string]bool{})
	if err != nil {
		return "", err
	}
	known := map[string]bool{}
	values := map[string]string{}
	for i, line := range lines {
		if m := constLine.FindStringSubmatch(line); m != nil {
			known[m[2]] = true
			values[m[2]] = m[4]
			if v, ok := params[m[2]]; ok {
				values[m[2]] = literal(v, m[3])
				lines[i] = m[1] + values[m[2]] + m[5]
			}
		} else if m := aliasLine.FindStringSubmatch(line); m != nil {
			known[m[2]] = true
			if v, ok := params[m[2]]; ok {
				lines[i] = fmt.Sprintf("%s%v%s", m[1], v, m[4])
			}
		}
	}
	for p := range params {
		if !known[p] {
			return "", fmt.Errorf("no //@param line for %s", p)
		}
	}
	kept := lines[:0]
	for _, line := range lines {
		if m := ifLine.FindStringSubmatch(line); m != nil {
			if (values[m[3]] == "true") == (m[2] == "!") {
				continue
			}
			line = m[1]
		}
		kept = append(kept, line)
	}
	out, rest, err := unroll(kept, values, false)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("//@end without //@unroll")
	}
	return strings.Join(out, "\n"), err
}

func paste(lines []string, done map[string]bool) ([]string, error) {
	var out []string
	for _, line := range lines {
		m := importLine.FindStringSubmatch(line)
		if m == nil {
			out = append(out, line)
			continue
		}
		if done[m[1]] {
			continue
		}
		done[m[1]] = true
		part, err := files.ReadFile("lib/" + m[1] + ".wgsl")
		if err != nil {
			return nil, fmt.Errorf("no part lib/%s.wgsl", m[1])
		}
		pasted, err := paste(strings.Split(string(part), "\n"), done)
		if err != nil {
			return nil, err
		}
		out = append(out, pasted...)
	}
	return out, nil
}

// literal spells v as a WGSL literal of the declared type.
func literal(v any, typ string) string {
	s := fmt.Sprint(v)
	switch {
	case typ == "u32":
		return strings.TrimSuffix(s, "u") + "u"
	case typ == "f32" && !strings.ContainsAny(s, ".e"):
		return s + ".0"
	}
	return s
}

// unroll expands lines up to an //@end that closes the loop it is in, and returns what follows that line.
func unroll(lines []string, values map[string]string, inside bool) (out, rest []string, err error) {
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		if endLine.MatchString(line) {
			if !inside {
				return out, []string{line}, nil
			}
			return out, lines, nil
		}
		m := unrollLine.FindStringSubmatch(line)
		if m == nil {
			if strings.Contains(line, "//@unroll") {
				return nil, nil, fmt.Errorf("cannot read the loop %q", strings.TrimSpace(line))
			}
			out = append(out, line)
			continue
		}
		from, err1 := evaluate(m[2], values)
		to, err2 := evaluate(m[3], values)
		step := 1
		var err3 error
		if m[5] != "" {
			step, err3 = evaluate(m[5], values)
		}
		for _, e := range []error{err1, err2, err3} {
			if e != nil {
				return nil, nil, fmt.Errorf("loop %q: %w", strings.TrimSpace(line), e)
			}
		}
		if step < 1 || (to-from)/step > 4096 {
			return nil, nil, fmt.Errorf("loop %q has %d turns by %d", strings.TrimSpace(line), to-from, step)
		}
		body, after, err := unroll(lines, values, true)
		if err != nil {
			return nil, nil, err
		}
		for i := from; i < to; i += step {
			// The body was expanded with the inner loops already, whose bounds do not depend on this variable.
			out = append(out, fmt.Sprintf("{ const %s = %du;", m[1], i))
			out = append(out, body...)
			out = append(out, "}")
		}
		lines = after
	}
	if inside {
		return nil, nil, fmt.Errorf("//@unroll without //@end")
	}
	return out, nil, nil
}

// evaluate computes products, quotients, sums and differences of parameters and literals, left to right with
// the usual precedence.
func evaluate(expr string, values map[string]string) (int, error) {
	fields := strings.Fields(strings.NewReplacer("*", " * ", "/", " / ", "+", " + ", "-", " - ").Replace(expr))
	sum, sign := 0, 1
	for i := 0; i < len(fields); {
		v, err := operand(fields[i], values)
		if err != nil {
			return 0, err
		}
		i++
		for i+1 < len(fields) && (fields[i] == "*" || fields[i] == "/") {
			w, err := operand(fields[i+1], values)
			if err != nil {
				return 0, err
			}
			if fields[i] == "*" {
				v *= w
			} else if w == 0 {
				return 0, fmt.Errorf("division by zero in %q", expr)
			} else {
				v /= w
			}
			i += 2
		}
		sum += sign * v
		if i < len(fields) {
			switch fields[i] {
			case "+":
				sign = 1
			case "-":
				sign = -1
			default:
				return 0, fmt.Errorf("cannot evaluate %q", expr)
			}
			i++
		}
	}
	return sum, nil
}

func operand(s string, values map[string]string) (int, error) {
	if v, ok := values[s]; ok {
		s = v
	}
	n, err := strconv.Atoi(strings.TrimSuffix(s, "u"))
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor a parameter", s)
	}
	return n, nil
}
