package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed static
var staticFiles embed.FS

// assets serves static under an address with the hash of all its files, so
// that a browser may keep them for ever.
type assets struct {
	version string
	files   map[string]asset
}

type asset struct {
	plain, gz   []byte
	contentType string
}

// contentTypes are those of the files that are served; the others (licences,
// README) are not.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
}

// loadAssets compresses the embedded files once for the process.
var loadAssets = sync.OnceValues(newAssets)

func newAssets() (*assets, error) {
	a := &assets{files: map[string]asset{}}
	sum := sha256.New()
	err := fs.WalkDir(staticFiles, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ct, ok := contentTypes[path.Ext(name)]
		if !ok {
			return nil
		}
		b, err := staticFiles.ReadFile(name)
		if err != nil {
			return err
		}
		_, _ = sum.Write(append([]byte(name+"\x00"), b...)) // never fails
		f := asset{plain: b, contentType: ct}
		if f.gz, err = compressed(b); err != nil {
			return fmt.Errorf("console: %s: %w", name, err)
		}
		a.files[strings.TrimPrefix(name, "static/")] = f
		return nil
	})
	a.version = hex.EncodeToString(sum.Sum(nil))[:12]
	return a, err
}

func compressed(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// url is the address of a file of static.
func (a *assets) url(name string) (string, error) {
	if _, ok := a.files[name]; !ok {
		return "", fmt.Errorf("there is no static file %s", name)
	}
	return Prefix + "/static/" + a.version + "/" + name, nil
}

// styles are the sheets: first app.css, which says in which order the layers of
// the others count and imports those of vendor into theirs, then the others in
// alphabetical order.
func (a *assets) styles() []string {
	var own []string
	for name := range a.files {
		if strings.HasSuffix(name, ".css") && !strings.HasPrefix(name, "vendor/") && name != "app.css" {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	return append([]string{"app.css"}, own...)
}

// ServeHTTP serves <version>/<name>. Another version gets the file that is
// there now, to be asked for again the next time.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f, ok := a.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Vary", "Accept-Encoding")
	if version == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.plain
	if acceptsGzip(r.Header.Get("Accept-Encoding")) && len(f.gz) < len(f.plain) {
		h.Set("Content-Encoding", "gzip")
		body = f.gz
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the browser is gone: there is nobody to tell
	}
}

// acceptsGzip reads Accept-Encoding as browsers write it.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err == nil && coding == "gzip" && params["q"] != "0" {
			return true
		}
	}
	return false
}
