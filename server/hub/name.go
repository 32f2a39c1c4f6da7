package hub

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// DefaultRevision is the branch that a name without a revision means.
const DefaultRevision = "main"

// Name names a repository of the hub and a revision of it.
type Name struct {
	Repo     string // "org/name"
	Revision string // a branch, a tag or a commit; never empty
}

// String is "org/name", followed by "@revision" unless that is DefaultRevision.
func (n Name) String() string {
	if n.Revision == DefaultRevision {
		return n.Repo
	}
	return n.Repo + "@" + n.Revision
}

// hubHosts are hosts whose addresses name repositories. Mirrors have the same repositories under the same paths.
var hubHosts = []string{"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com", "www.hf-mirror.com"}

// A part of a repository's name: as on the hub, letters, digits, "_", "-" and ".", not twice "-" or ".", with a letter, digit
// or "_" at both ends.
var namePart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$`)

// A revision: the parts of a Git branch name.
var revisionPart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.+-]*[A-Za-z0-9_+-])?$`)

const maxRevision = 200

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// LooksLikeName reports whether a text has the form org/name, org/name@revision, or that of an address. Such a text may still
// be the path of a folder.
func LooksLikeName(text string) bool {
	if isAddress(strings.TrimSpace(text)) {
		return true
	}
	_, err := parseShort(strings.TrimSpace(text))
	return err == nil
}

// ParseName reads org/name, org/name@revision, or an address of a repository or of one of its files, such as
// https://huggingface.co/org/name/blob/main/config.json. Of an address only the name and the revision are taken: files come from
// the endpoint that is set. endpoint is that endpoint's address, whose host is also accepted in an address; "" for none.
func ParseName(text, endpoint string) (Name, error) {
	text = strings.TrimSpace(text)
	if len(text) > 2000 {
		return Name{}, fmt.Errorf("%.40q… is too long for the name of a model", text)
	}
	if isAddress(text) {
		return parseAddress(text, endpoint)
	}
	return parseShort(text)
}

func isAddress(text string) bool {
	if strings.Contains(text, "://") {
		return true
	}
	host, _, found := strings.Cut(text, "/")
	return found && slices.Contains(hubHosts, strings.ToLower(host)) && strings.Count(text, "/") >= 2
}

func parseShort(text string) (Name, error) {
	repo, revision, given := strings.Cut(text, "@")
	if !given {
		revision = DefaultRevision
	}
	org, name, _ := strings.Cut(repo, "/")
	return newName(org, name, revision)
}

// newName checks the parts of a name.
func newName(org, name, revision string) (Name, error) {
	for _, part := range []string{org, name} {
		if !namePart.MatchString(part) || strings.Contains(part, "--") || strings.Contains(part, "..") || strings.HasSuffix(strings.ToLower(part), ".git") {
			return Name{}, fmt.Errorf("%q is not the name of a model: want org/name, org/name@revision or the address of a model's page", org+"/"+name)
		}
	}
	valid := len(revision) <= maxRevision && !strings.Contains(revision, "..")
	for _, part := range strings.Split(revision, "/") {
		valid = valid && revisionPart.MatchString(part) && !strings.HasSuffix(part, ".lock")
	}
	if !valid {
		return Name{}, fmt.Errorf("%q is not a revision: want a branch, a tag or a commit", revision)
	}
	return Name{org + "/" + name, revision}, nil
}

// parseAddress reads the address of a page or of a file.
func parseAddress(text, endpoint string) (Name, error) {
	if rest, ok := strings.CutPrefix(text, "hf://"); ok {
		return parseShort(strings.TrimPrefix(rest, "models/"))
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return Name{}, fmt.Errorf("%q is not the address of a model", text)
	}
	own, _ := url.Parse(endpoint)
	if !slices.Contains(hubHosts, strings.ToLower(u.Hostname())) && (endpoint == "" || own == nil || !strings.EqualFold(own.Host, u.Host)) {
		return Name{}, fmt.Errorf("%s is not a host of a hub: to fetch from it, set it as the endpoint (--hub-endpoint or HF_ENDPOINT)", u.Host)
	}
	var parts []string
	for _, part := range strings.Split(strings.Trim(u.EscapedPath(), "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return Name{}, fmt.Errorf("%q is not the address of a model", text)
		}
		parts = append(parts, plain)
	}
	return parsePath(parts, text)
}

// parsePath reads the unescaped parts of the path of an address.
func parsePath(parts []string, text string) (Name, error) {
	if len(parts) > 2 && parts[0] == "api" && parts[1] == "models" {
		parts = parts[2:]
	}
	switch parts[0] {
	case "datasets", "spaces":
		return Name{}, fmt.Errorf("%q is the address of one of the hub's %s, not of a model", text, parts[0])
	case "api", "docs", "blog", "collections", "papers", "models", "settings", "join", "login", "tasks", "learn", "posts":
		return Name{}, fmt.Errorf("%q is not the address of a model", text)
	}
	if len(parts) < 2 {
		return Name{}, fmt.Errorf("%q names no model: want the address of a model's page, which ends with /org/name", text)
	}
	revision := DefaultRevision
	if len(parts) > 3 {
		switch parts[2] {
		case "tree", "blob", "resolve", "raw", "commits", "commit", "revision":
			revision = parts[3]
			folder := parts[4:]
			if parts[2] != "tree" && len(folder) > 0 {
				folder = folder[:len(folder)-1] // the last part is a file
			}
			if len(folder) > 0 {
				return Name{}, fmt.Errorf("%q leads to the folder %s of a repository, and models are read from the top of one only", text, strings.Join(folder, "/"))
			}
		}
	}
	return newName(parts[0], parts[1], revision)
}
