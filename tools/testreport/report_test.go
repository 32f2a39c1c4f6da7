package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module of packages whose tests end in every way that there is.
var endings = map[string]string{
	"go.mod":              "module llamatab\n\ngo 1.26\n",
	"well/well_test.go":   "package well\nimport \"testing\"\nfunc TestOne(t *testing.T) { t.Log(\"quiet\") }\nfunc TestParts(t *testing.T) {\n\tt.Run(\"a\", func(t *testing.T) {})\n\tt.Run(\"b/c\", func(t *testing.T) {})\n}\n",
	"skip/skip_test.go":   "package skip\nimport \"testing\"\nfunc TestListed(t *testing.T) { t.Skip(\"there is no such file\") }\nfunc TestNotListed(t *testing.T) { t.Run(\"part\", func(t *testing.T) { t.SkipNow() }) }\n",
	"fail/fail_test.go":   "package fail\nimport \"testing\"\nfunc TestSum(t *testing.T) { t.Error(\"1 is not 2\") }\nfunc TestParts(t *testing.T) {\n\tt.Run(\"good\", func(t *testing.T) {})\n\tt.Run(\"bad\", func(t *testing.T) { t.Error(\"3 is not 4\") })\n}\n",
	"panic/panic_test.go": "package panic\nimport \"testing\"\nfunc TestBefore(t *testing.T) {}\nfunc TestPanics(t *testing.T) { t.Run(\"deep\", func(t *testing.T) { panic(\"five\") }) }\n",
	"exit/exit_test.go":   "package exit\nimport (\n\"os\"\n\"testing\"\n)\nfunc TestExits(t *testing.T) { os.Exit(3) }\n",
	"build/build_test.go": "package build\nimport \"testing\"\nfunc TestNever(t *testing.T) { undefinedName() }\n",
	"main/main_test.go":   "package main\nimport (\n\"fmt\"\n\"os\"\n\"testing\"\n)\nfunc TestMain(m *testing.M) { m.Run(); fmt.Println(\"could not remove\"); os.Exit(1) }\nfunc TestGood(t *testing.T) {}\n",
	"none/none.go":        "package none\n",
}

// goTest runs the tests of the packages above and returns what testreport prints.
func goTest(t *testing.T, list string, strict bool, packages ...string) (text string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range endings {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out bytes.Buffer
	r := newReport(&out)
	var err error
	if r.skips, err = parseSkips(list); err != nil {
		t.Fatal(err)
	}
	r.begin("first run")
	r.end(execute(append([]string{"go", "test", "-json"}, packages...), r))
	ok = r.summary(strict)
	return out.String(), ok
}

// wants checks that a report contains texts in this order.
func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, found := strings.Cut(rest, p)
		if !found {
			t.Fatalf("%q is not there, or not in its place, in:\n%s", p, text)
		}
		rest = after
	}
}

func TestAllPass(t *testing.T) {
	text, ok := goTest(t, "", true, "./well", "./none")
	if !ok || strings.Contains(text, "quiet") {
		t.Errorf("report %v:\n%s", ok, text)
	}
	wants(t, text, "ok    well", "3 passed\n")
	if !strings.HasSuffix(text, "\n3 passed, 0 failed, 0 skipped\n") {
		t.Errorf("the last line is not the counts:\n%s", text)
	}
}

func TestSkips(t *testing.T) {
	const listed = "skip TestListed the reason\n# a remark\n\n"
	text, ok := goTest(t, listed, false, "./skip")
	if !ok {
		t.Errorf("a skipped test fails a run that is not strict:\n%s", text)
	}
	wants(t, text, "ok    skip", "0 passed, 2 skipped", "== skipped", "skip TestListed (first run): skip_test.go:3: there is no such file\n",
		"skip TestNotListed/part (first run): no reason given   [not on the list of skips]\n", "0 passed, 0 failed, 2 skipped\n")
	if text, ok = goTest(t, listed, true, "./skip"); ok {
		t.Errorf("a skipped test that is not listed passes:\n%s", text)
	}
	wants(t, text, "== failed", "skip TestNotListed/part (first run) was skipped and is not on the list", "\n0 passed, 1 failed, 2 skipped\n")
	if text, ok = goTest(t, listed+"skip TestNotListed/* a part\n", true, "./skip"); !ok {
		t.Errorf("all skips are listed:\n%s", text)
	}
	if text, ok = goTest(t, "well TestGone it went\n", true, "./well"); ok || !strings.Contains(text, "names well TestGone, which is no test") {
		t.Errorf("a line that names no test passes:\n%s", text)
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		pkg    string
		parts  []string
		counts string
	}{
		{"fail", []string{"--- failed: fail TestSum (first run)", "1 is not 2", "--- failed: fail TestParts/bad", "3 is not 4", "FAIL  fail", "1 passed, 2 failed", "== failed"}, "1 passed, 2 failed, 0 skipped"},
		{"panic", []string{"--- failed: panic TestPanics/deep", "panic: five", "FAIL  panic"}, "1 passed, 1 failed, 0 skipped"},
		{"exit", []string{"--- failed: exit TestExits", "FAIL  exit"}, "0 passed, 1 failed, 0 skipped"},
		{"build", []string{"--- failed: build (first run)", "undefined: undefinedName", "FAIL  build"}, "0 passed, 1 failed, 0 skipped"},
		{"main", []string{"--- failed: main (first run)", "could not remove", "FAIL  main"}, "1 passed, 1 failed, 0 skipped"},
		{"absent", []string{"--- failed: "}, "0 passed, 1 failed, 0 skipped"},
	} {
		text, ok := goTest(t, "", false, "./"+c.pkg)
		if ok || !strings.HasSuffix(text, "\n"+c.counts+"\n") {
			t.Errorf("%s: report %v, want %s:\n%s", c.pkg, ok, c.counts, text)
		}
		wants(t, text, c.parts...)
	}
}

func TestCommandThatIsNotThere(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.begin("lost")
	r.end(execute([]string{filepath.Join(t.TempDir(), "nothing")}, r))
	if r.summary(false) || !strings.HasSuffix(out.String(), "\n0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("a command that does not start:\n%s", out.String())
	}
}

func TestTAP(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.skips = []skip{{"scripts", "later", "listed"}}
	r.begin("scripts")
	for _, part := range []string{"TAP version 13\n# Subtest: file.test.js\n    # Subtest: adds\n    ok 1 - adds\n      ---\n      duration_ms: 1\n      ...\n    # Sub",
		"test: fails\n    not ok 2 - fails\n      ---\n      error: '1 is not 2'\n      ...\n    1..2\nnot ok 1 - file.test.js\n  ---\n  failureType: 'subtestsFailed'\n  ...\n",
		"ok 2 - later # SKIP no such thing\nok 3 - alone\n1..3\n# tests 4\n"} {
		r.Write([]byte(part))
	}
	r.end(nil)
	if r.summary(true) {
		t.Errorf("a failed test passes:\n%s", out.String())
	}
	wants(t, out.String(), "--- failed: fails (scripts)", "1 is not 2", "2 passed, 1 failed, 1 skipped", "later (scripts): no such thing\n", "\n2 passed, 1 failed, 1 skipped\n")
}

func TestParseSkips(t *testing.T) {
	for _, text := range []string{"engine/op TestX\n", "engine/op Test[ the reason\n"} {
		if _, err := parseSkips(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestSplit(t *testing.T) {
	runs := split([]string{"a", "go", "test", "--", "b", "node"})
	if len(runs) != 2 || strings.Join(runs[0], " ") != "a go test" || strings.Join(runs[1], " ") != "b node" {
		t.Errorf("%q", runs)
	}
	if runs := split([]string{"a", "--", "b", "node"}); runs != nil {
		t.Errorf("a run without a command: %q", runs)
	}
}

// TestTimes: the slowest tests are listed from the slowest on, without those of a moment, and a run with what it took.
func TestTimes(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.begin("run")
	for _, line := range []string{
		`{"Action":"pass","Package":"llamatab/a","Test":"TestMiddle","Elapsed":7}`,
		`{"Action":"pass","Package":"llamatab/a","Test":"TestQuick","Elapsed":0.1}`,
		`{"Action":"pass","Package":"llamatab/b","Test":"TestSlow/part","Elapsed":29}`,
		`{"Action":"pass","Package":"llamatab/b","Test":"TestSlow","Elapsed":30}`,
	} {
		r.take([]byte(line))
	}
	r.times.run("run", 90*time.Second)
	r.summary(false)
	wants(t, out.String(), "== time", "90.0 s  run", "30.0 s  b TestSlow (run)", "7.0 s  a TestMiddle (run)", "4 passed")
	if strings.Contains(out.String(), "TestQuick") || strings.Contains(out.String(), "part") {
		t.Error(out.String())
	}
}
