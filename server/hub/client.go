package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultEndpoint is the hub's address.
const DefaultEndpoint = "https://huggingface.co"

// How a client deals with trouble.
const (
	stallAfter    = 30 * time.Second // without a byte
	maxTries      = 8                // in a row without a byte
	maxReconnects = 1000             // of one file: bytes come, but the connection is cut again and again
	longestWait   = 5 * time.Minute  // that the hub may ask for
	maxRedirects  = 8
)

// Client asks a hub.
type Client struct {
	endpoint *url.URL
	token    string
	web      *http.Client
	stall    time.Duration
	pause    func(ctx context.Context, d time.Duration) error // waits
}

// NewClient makes a client of the hub at an endpoint, "" for DefaultEndpoint. The token, "" for none, is sent to the
// endpoint's own host alone, and over plain HTTP only to this machine.
func NewClient(endpoint, token string) (*Client, error) {
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of a hub, such as %s", endpoint, DefaultEndpoint)
	}
	c := &Client{endpoint: u, token: token, stall: stallAfter, pause: pause}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.DialContext = (&net.Dialer{Timeout: 15 * time.Second}).DialContext
	c.web = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Endpoint is the hub's address.
func (c *Client) Endpoint() string { return c.endpoint.String() }

// Host is the hub's host, for messages.
func (c *Client) Host() string { return c.endpoint.Host }

// WithheldToken reports that there is a token, but that the connection would show it to others.
func (c *Client) WithheldToken() bool { return c.token != "" && !c.tokenSafe() }

func (c *Client) tokenSafe() bool {
	if c.endpoint.Scheme == "https" || strings.EqualFold(c.endpoint.Hostname(), "localhost") {
		return true
	}
	ip := net.ParseIP(c.endpoint.Hostname())
	return ip != nil && ip.IsLoopback()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// temporary is a failure after which the same request may succeed.
type temporary struct {
	cause *Error
	wait  time.Duration // that the hub asks for, 0 where it does not say
}

func (t *temporary) Error() string { return t.cause.Error() }
func (t *temporary) Unwrap() error { return t.cause }

// get sends a request and follows redirects. The error is *temporary where trying again makes sense, else *Error.
func (c *Client) get(ctx context.Context, address *url.URL, header http.Header) (*http.Response, error) {
	at := address
	for range maxRedirects {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, fail(Broken, "", "the hub redirects to an address that cannot be used")
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("User-Agent", "llamatab")
		if c.token != "" && c.tokenSafe() && sameOrigin(at, c.endpoint) {
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		response, err := c.web.Do(request)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, &temporary{cause: c.unreachable(at, err)}
		}
		switch response.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			response.Body.Close()
			to, err := at.Parse(response.Header.Get("Location"))
			if err != nil || to.Scheme != "https" && (to.Scheme != "http" || at.Scheme == "https") || to.Host == "" || to.User != nil {
				return nil, fail(Broken, "", "%s redirects to an address that cannot be used", at.Host)
			}
			at = to
		default:
			return response, nil
		}
	}
	return nil, fail(Broken, "", "%s redirects more than %d times", address.Host, maxRedirects)
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// unreachable describes a failed connection without the address, whose query may contain a signature.
func (c *Client) unreachable(at *url.URL, err error) *Error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	e := fail(Unreachable, "check the network, or name a mirror with --hub-endpoint or HF_ENDPOINT; models that are in the cache need no network (--offline)", "%s cannot be reached: %v", at.Host, err)
	e.Err = err
	return e
}

// refused turns an answer that is no success into an error. It reads and closes the body.
func (c *Client) refused(r *http.Response, name Name) error {
	defer r.Body.Close()
	io.Copy(io.Discard, io.LimitReader(r.Body, 64<<10)) // so that the connection can be used again
	code := r.Header.Get("X-Error-Code")
	page := c.endpoint.String() + "/" + name.Repo
	switch {
	case code == "GatedRepo" && c.token == "", code == "GatedRepo" && !c.tokenSafe():
		return fail(Gated, "open "+page+", accept its conditions, make an access token and set HF_TOKEN to it", "%s is a gated model, and there is no access token", name)
	case code == "GatedRepo":
		return fail(Gated, "open "+page+" and accept its conditions with the account of the token; a fine-grained token also needs read access to gated repositories", "%s is a gated model, and the account of this access token may not read it", name)
	case code == "RevisionNotFound":
		return fail(NoRevision, "look at its branches and tags at "+page+"/tree/main", "%s has no revision %s", name.Repo, name.Revision)
	case code == "EntryNotFound":
		return fail(Broken, "pull it again: the repository may have changed", "a file of %s is not there any more", name)
	case code == "RepoNotFound" || r.StatusCode == http.StatusNotFound:
		return fail(NotFound, c.lookAtName(), "there is no model %s at %s, or it is private", name.Repo, c.Host())
	case r.StatusCode == http.StatusUnauthorized && c.token != "" && c.tokenSafe():
		return fail(NeedsToken, "set HF_TOKEN to a valid token, or remove it", "%s does not accept the access token, or %s does not exist", c.Host(), name.Repo)
	case r.StatusCode == http.StatusUnauthorized:
		return fail(NotFound, c.lookAtName(), "there is no model %s at %s, or it is private", name.Repo, c.Host())
	case r.StatusCode == http.StatusForbidden:
		return fail(Gated, "open "+page+", accept its conditions if it has any, and set HF_TOKEN to a token that may read it", "%s does not let %s be read", c.Host(), name)
	case r.StatusCode == http.StatusTooManyRequests:
		return &temporary{fail(Busy, "wait and run the same command again; an access token in HF_TOKEN raises the limit", "%s has had too many requests from this address", c.Host()), retryAfter(r.Header)}
	case r.StatusCode >= 500 || r.StatusCode == http.StatusRequestTimeout:
		return &temporary{fail(Broken, "run the same command again later", "%s answers with status %d", c.Host(), r.StatusCode), retryAfter(r.Header)}
	}
	return fail(Broken, "", "%s answers with status %d for %s", c.Host(), r.StatusCode, name)
}

func (c *Client) lookAtName() string {
	if c.token != "" && c.tokenSafe() {
		return "check the spelling, and that the account of HF_TOKEN may read it"
	}
	return "check the spelling; for a private model set HF_TOKEN to an access token"
}

// retryAfter is the time that an answer asks to wait, 0 where it does not say.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return min(time.Duration(seconds), 1e6) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// backoff decides about the next try after a number of failed ones.
func (c *Client) backoff(ctx context.Context, failed int, t *temporary, say func(string)) error {
	wait := min(time.Second<<min(failed-1, 5), 30*time.Second)
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1))
	if t.wait > longestWait {
		t.cause.Text += fmt.Sprintf(", and asks to wait %s", t.wait.Round(time.Second))
		return t.cause
	}
	wait = max(wait, t.wait)
	say(fmt.Sprintf("%s; trying again in %s", t.cause.Text, wait.Round(time.Second)))
	return c.pause(ctx, wait)
}

// small fetches a small answer whole, with retries.
func (c *Client) small(ctx context.Context, address *url.URL, limit int64, name Name, say func(string)) ([]byte, error) {
	for failed := 1; ; failed++ {
		data, err := c.smallOnce(ctx, address, limit, name)
		var t *temporary
		if !errors.As(err, &t) {
			return data, err
		}
		if failed >= maxTries || t.cause.Kind == Unreachable && failed >= 3 {
			return nil, t.cause
		}
		if err := c.backoff(ctx, failed, t, say); err != nil {
			return nil, err
		}
	}
}

func (c *Client) smallOnce(ctx context.Context, address *url.URL, limit int64, name Name) ([]byte, error) {
	ctx, watch := newWatchdog(ctx, c.stall)
	defer watch.stop()
	response, err := c.get(ctx, address, nil)
	if err != nil {
		return nil, watch.explain(err, address.Host)
	}
	if response.StatusCode != http.StatusOK {
		return nil, c.refused(response, name)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(watch.reader(response.Body), limit+1))
	if err != nil {
		return nil, watch.explain(&temporary{cause: c.unreachable(address, err)}, address.Host)
	}
	if int64(len(data)) > limit {
		return nil, fail(Broken, "", "%s answers with more than %d bytes for %s", address.Host, limit, name)
	}
	return data, nil
}

// apiURL is the address of the description of a revision.
func (c *Client) apiURL(name Name) *url.URL {
	u := *c.endpoint
	u.RawPath = u.EscapedPath() + "/api/models/" + name.Repo + "/revision/" + url.PathEscape(name.Revision)
	u.Path += "/api/models/" + name.Repo + "/revision/" + name.Revision
	u.RawQuery = "blobs=true"
	return &u
}

// fileURL is the address of a file.
func (c *Client) fileURL(repo, commit, path string) *url.URL {
	return c.endpoint.JoinPath(repo, "resolve", commit, path)
}

// list asks for the files of a revision.
func (c *Client) list(ctx context.Context, name Name, say func(string)) (*listing, error) {
	data, err := c.small(ctx, c.apiURL(name), maxListing, name, say)
	if err != nil {
		return nil, err
	}
	return parseListing(data, name)
}
