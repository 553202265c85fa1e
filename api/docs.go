package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS string

// docsPages are the two pages, made once: they hold nothing of a request.
type docsPages struct {
	docs, home []byte
	policy     string // Content-Security-Policy
}

func (s *Server) docsRoutes() []route {
	page := func(path string, body func(*docsPages) []byte) route {
		return route{method: http.MethodGet, path: path, scope: scopePublic, quiet: true, handle: func(r *request) error {
			docs, err := s.docs()
			if err != nil {
				return err
			}
			h := r.header()
			h.Set("Content-Security-Policy", docs.policy)
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			r.write(http.StatusOK, "text/html; charset=utf-8", body(docs))
			return nil
		}}
	}
	return []route{
		page("/", func(d *docsPages) []byte { return d.home }),
		page("/docs", func(d *docsPages) []byte { return d.docs }),
	}
}

// The parts of the OpenAPI document that the page shows.
type (
	docFile struct {
		Info struct {
			Title       string `yaml:"title"`
			Description string `yaml:"description"`
		} `yaml:"info"`
		Tags  []docTag                     `yaml:"tags"`
		Paths map[string]map[string]docRaw `yaml:"paths"`
		Parts struct {
			Parameters map[string]docParam `yaml:"parameters"`
			Bodies     map[string]docBody  `yaml:"requestBodies"`
			Responses  map[string]docResp  `yaml:"responses"`
		} `yaml:"components"`
	}
	docTag struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	}
	docRaw struct {
		OperationID string     `yaml:"operationId"`
		Summary     string     `yaml:"summary"`
		Description string     `yaml:"description"`
		Tags        []string   `yaml:"tags"`
		Parameters  []docParam `yaml:"parameters"`
		Body        docBody    `yaml:"requestBody"`
		// Responses by status.
		Responses map[string]docResp `yaml:"responses"`
	}
	docResp struct {
		Ref         string `yaml:"$ref"`
		Description string `yaml:"description"`
	}
	docParam struct {
		Ref         string `yaml:"$ref"`
		Name        string `yaml:"name"`
		In          string `yaml:"in"`
		Required    bool   `yaml:"required"`
		Description string `yaml:"description"`
	}
	docBody struct {
		Ref     string                           `yaml:"$ref"`
		Content map[string]struct{ Example any } `yaml:"content"`
	}
)

// What the template gets.
type (
	docPage struct {
		Title, Version, Description string
		Style                       template.CSS
		Home                        bool
		Groups                      []docGroup
		Links                       []docLink
	}
	docLink  struct{ Href, Text string }
	docGroup struct {
		Name, ID, Description string
		Operations            []docOperation
	}
	docOperation struct {
		ID, Method, Path, Summary, Description string
		Scope                                  string
		Parameters                             []docParam
		Media                                  []string
		Statuses                               []docStatus
		Curl                                   string
	}
	docStatus struct{ Code, Text string }
)

// newDocs renders the pages from the OpenAPI document.
func newDocs(openAPI []byte, table []route, version string) (*docsPages, error) {
	var file docFile
	if err := yaml.Unmarshal(openAPI, &file); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	tpl, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, fmt.Errorf("docs.html: %w", err)
	}
	p := docPage{
		Title: file.Info.Title, Version: version, Description: file.Info.Description, Style: template.CSS(docsCSS), //nolint:gosec // our own embedded file
		Groups: docGroups(&file, table),
		Links: []docLink{
			{"/console/", "Console"}, {"/docs", "Documentation of every operation"}, {"/openapi.yaml", "OpenAPI document"}, {"/readyz?verbose", "Readiness"}, {"/metrics", "Metrics"},
		},
	}
	sum := sha256.Sum256([]byte(docsCSS))
	out := &docsPages{policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
	for _, home := range []bool{true, false} {
		p.Home = home
		var b bytes.Buffer
		if err := tpl.Execute(&b, p); err != nil {
			return nil, fmt.Errorf("docs.html: %w", err)
		}
		if home {
			out.home = b.Bytes()
		} else {
			out.docs = b.Bytes()
		}
	}
	return out, nil
}

func docGroups(file *docFile, table []route) []docGroup {
	groups := map[string]*docGroup{}
	order := make([]string, 0, len(file.Tags))
	group := func(name string) *docGroup {
		if g, ok := groups[name]; ok {
			return g
		}
		g := &docGroup{Name: name, ID: strings.ReplaceAll(strings.ToLower(name), " ", "-")}
		groups[name] = g
		order = append(order, name)
		return g
	}
	for _, t := range file.Tags {
		group(t.Name).Description = t.Description
	}
	for i := range table {
		r := &table[i]
		op, ok := file.Paths[r.path][strings.ToLower(r.method)]
		if !ok {
			continue // a test compares table and document
		}
		name := "Other"
		if len(op.Tags) > 0 {
			name = op.Tags[0]
		}
		g := group(name)
		g.Operations = append(g.Operations, docOperationOf(file, r, op))
	}
	out := make([]docGroup, 0, len(order))
	for _, name := range order {
		if len(groups[name].Operations) > 0 {
			out = append(out, *groups[name])
		}
	}
	return out
}

func docOperationOf(file *docFile, r *route, op docRaw) docOperation {
	out := docOperation{
		ID: op.OperationID, Method: r.method, Path: r.path, Summary: op.Summary, Description: op.Description, Scope: scopeText(r),
	}
	for _, p := range op.Parameters {
		if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
			p = file.Parts.Parameters[name]
		}
		if p.Name != "" {
			out.Parameters = append(out.Parameters, p)
		}
	}
	body := op.Body
	if name, ok := strings.CutPrefix(body.Ref, "#/components/requestBodies/"); ok {
		body = file.Parts.Bodies[name]
	}
	for m := range body.Content {
		out.Media = append(out.Media, m)
	}
	slices.Sort(out.Media)
	for code, resp := range op.Responses {
		if name, ok := strings.CutPrefix(resp.Ref, "#/components/responses/"); ok {
			resp = file.Parts.Responses[name]
		}
		out.Statuses = append(out.Statuses, docStatus{code, resp.Description})
	}
	slices.SortFunc(out.Statuses, func(a, b docStatus) int { return cmp.Compare(a.Code, b.Code) })
	out.Curl = curl(r, out.Media)
	return out
}

func scopeText(r *route) string {
	if r.scope == scopePublic {
		return "none needed"
	}
	if r.scope == scopeCaller {
		return "any valid credentials"
	}
	return string(r.scope)
}

// curl is a line to copy; upper-case words are for the reader to replace.
func curl(r *route, media []string) string {
	var b strings.Builder
	b.WriteString("curl")
	if r.method != http.MethodGet {
		b.WriteString(" -X " + r.method)
	}
	if r.scope != scopePublic {
		b.WriteString(` -H "Authorization: App $KEY"`)
	}
	if len(media) > 0 {
		b.WriteString(" -H 'Content-Type: " + media[0] + "' -d @FILE")
	}
	b.WriteString(` "$API` + r.path + `"`)
	return b.String()
}
