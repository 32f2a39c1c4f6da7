package e2e

import (
	"archive/zip"
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"llamatab/engine/testfiles"
	"llamatab/server/headless"
	"llamatab/server/servertest"
)

// serving starts the built program and returns the address that it prints.
func serving(t *testing.T, args ...string) string {
	t.Helper()
	return startServe(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...).address
}

// tinyModel makes a folder that holds the smallest model, under the name tiny, and returns the options that serve it. Tests of
// what the page does take it: its steps and kernels cost a fraction of those of the built-in model.
func tinyModel(t *testing.T) []string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "tiny"), os.DirFS(filepath.Join(testfiles.Repository(t), "testdata/golden/tiny/model"))); err != nil {
		t.Fatal(err)
	}
	return []string{"--models", folder}
}

// served is a running `llamatab serve`.
type served struct {
	address string
	cmd     *exec.Cmd
	killed  bool
}

// startServe starts the built program and prints its address. At the end of the test the program must end after SIGTERM.
func startServe(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{cmd: exec.Command(servertest.Binary(t), append([]string{"serve"}, args...)...)}
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		s.cmd.Stderr = s.cmd.Stdout
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.killed {
			return
		}
		s.cmd.Process.Signal(syscall.SIGTERM)
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("serve ended with %v after SIGTERM", err)
		}
	})
	lines := bufio.NewScanner(out)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for lines.Scan() {
		if s.address = address.FindString(lines.Text()); s.address != "" {
			go func() {
				for lines.Scan() {
				}
			}()
			return s
		}
	}
	t.Fatal("serve printed no address")
	return nil
}

// kill ends the program with SIGKILL.
func (s *served) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.killed = true
}

// visitor is a person in front of the page.
type visitor struct {
	*testing.T
	browser *headless.Browser
	ctx     context.Context
}

// visit opens a browser until the end of the test, or until the limit.
func visit(t *testing.T, limit time.Duration) visitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	b, err := headless.Start(ctx, headless.Options{Chrome: os.Getenv("CHROME"), SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return visitor{t, b, ctx}
}

// another is the visitor in a new tab of the same browser.
func (v visitor) another() visitor {
	v.Helper()
	tab, err := v.browser.Tab()
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(func() { tab.Close() })
	v.browser = tab
	return v
}

func (v visitor) open(url string) {
	v.Helper()
	if err := v.browser.Open(v.ctx, url); err != nil {
		v.Fatal(err)
	}
}

// ask runs JavaScript statements in the page and returns their result as text.
func (v visitor) ask(js string) (answer string) {
	v.Helper()
	if err := v.browser.Evaluate(v.ctx, `(async () => String(await (async () => {`+js+`})()))()`, &answer); err != nil {
		v.Fatalf("%s: %v", js, err)
	}
	return answer
}

// until waits for a JavaScript expression to be true.
func (v visitor) until(what, expression string) {
	v.Helper()
	// One request asks for both, as a wait asks twenty times a second.
	script := `if (` + expression + `) return "true"; const e = document.getElementById("error"); return e && !e.hidden ? e.innerText : ""`
	for {
		failed := v.ask(script)
		if failed == "true" {
			return
		}
		if deadline, _ := v.ctx.Deadline(); time.Until(deadline) < 10*time.Second {
			v.Fatalf("waited in vain for %s; the page says: %s", what, v.ask(`return document.body.innerText`))
		}
		if failed != "" {
			v.Fatalf("while waiting for %s the page says: %s", what, failed)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// press clicks the element with the id once it is enabled and no longer moves, as the layout of a page that has just changed
// may shift.
func (v visitor) press(id string) {
	v.Helper()
	v.until(id, `(e => {
		if (!e?.offsetParent || e.disabled) return false;
		const at = JSON.stringify([e.getBoundingClientRect(), document.body.scrollHeight]), before = globalThis.aim;
		globalThis.aim = at;
		return at === before;
	})(document.getElementById("`+id+`"))`)
	if err := v.browser.Click(v.ctx, "#"+id); err != nil {
		v.Fatal(err)
	}
}

// stage waits until the run is in a state.
func (v visitor) stage(stage string) {
	v.Helper()
	v.until("a run that is "+stage, standing+` === "`+stage+`"`)
}

// standing is a script expression for the state of the run.
const standing = `document.querySelector("main")?.dataset.state`

// text is the text of the element with the id.
func (v visitor) text(id string) string {
	v.Helper()
	return v.ask(`return document.getElementById("` + id + `")?.textContent ?? ""`)
}

// begin starts a run.json in the studio, after it has run some JavaScript statements.
func (v visitor) begin(address, config string, before ...string) {
	v.Helper()
	v.open("about:blank")
	v.open(address + "/#studio")
	v.press("json")
	v.until("run.json", `document.getElementById("config-text")?.value`)
	v.ask(`document.getElementById("config-text").value = JSON.stringify(` + config + `); document.getElementById("config-apply").click()`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true"`)
	v.ask(strings.Join(before, ";"))
	v.press("start")
}

// download presses a button and unpacks the zip file that the browser downloads.
func (v visitor) download(id string) (folder string) {
	v.Helper()
	folder = v.TempDir()
	if err := v.browser.Downloads(v.ctx, folder); err != nil {
		v.Fatal(err)
	}
	v.press(id)
	var archive *zip.ReadCloser
	for archive == nil {
		if v.ctx.Err() != nil {
			v.Fatal("waited in vain for the download")
		}
		time.Sleep(50 * time.Millisecond)
		if found, _ := filepath.Glob(filepath.Join(folder, "*.zip")); len(found) == 1 {
			archive, _ = zip.OpenReader(found[0]) // fails while the file is not complete
		}
	}
	defer archive.Close()
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			v.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			v.Fatal(err)
		}
		path := filepath.Join(folder, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			v.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			v.Fatal(err)
		}
	}
	return folder
}
