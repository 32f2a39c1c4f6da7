package lan

import (
	"html/template"
	"net"
	"net/http"
)

var helpPage = template.Must(template.New("help").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>llamatab</title><style>body{font:1.1em/1.5 system-ui,sans-serif;max-width:40em;margin:2em auto;padding:0 1em;color-scheme:light dark}code{word-break:break-all}</style>
<h1>llamatab</h1>
<p><a href="{{.Secure}}"><b>{{.Secure}}</b></a></p>
<p>The browser will warn that it does not know this server. For a single lesson choose <b>Advanced → Proceed</b>. To remove the warning, <a href="/ca.crt">download the server's certificate</a> and let this device trust it for websites. It is valid for private addresses only. Before you do, compare its SHA-256 with the one on the server's screen:</p>
<p lang="zh">浏览器会提示它不认识此服务器。只上一节课时，选择<b>高级 → 继续前往</b>即可。若要去掉提示，请<a href="/ca.crt">下载服务器证书</a>，并让本机信任它用于网站；它只能为局域网地址作证。信任之前，请与服务器屏幕上的 SHA-256 核对：</p>
<p><code>{{.Fingerprint}}</code></p></html>
`))

// Help answers plain HTTP: a page that leads to the secure address, and the authority's certificate at /ca.crt.
func (a *Authority) Help() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.crt", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		w.Header().Set("Content-Disposition", `attachment; filename="llamatab-ca.crt"`)
		w.Write(a.PEM())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if err := helpPage.Execute(w, map[string]string{"Secure": "https://" + r.Host + "/", "Fingerprint": a.Fingerprint()}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

// Addresses are the URLs under which other machines can open the server.
func Addresses(port string) (urls []string) {
	_, addresses := Names()
	for _, ip := range addresses {
		if ip.To4() != nil && !ip.IsLoopback() {
			urls = append(urls, "https://"+net.JoinHostPort(ip.String(), port)+"/")
		}
	}
	return urls
}
