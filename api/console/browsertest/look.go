//go:build browser

package browsertest

import (
	"context"
	_ "embed" // axe-core
	"fmt"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

//go:embed axe/axe.min.js
var axe string

// Look is how a page is looked at.
type Look struct {
	// Theme is "light" or "dark".
	Theme string
	// Width and Height are those of the window, in CSS pixels.
	Width, Height int64
	// Forced colours, as of a high-contrast theme of the system.
	Forced bool
}

// Narrow and Wide are the windows that every screen is looked at in, light.
var (
	Wide   = Look{Theme: "light", Width: 1280, Height: 900}
	Narrow = Look{Theme: "light", Width: 360, Height: 740}
)

// Looks are all of them.
func Looks() []Look {
	var out []Look
	for _, l := range []Look{Wide, Narrow} {
		for _, theme := range []string{"light", "dark"} {
			for _, forced := range []bool{false, true} {
				out = append(out, Look{theme, l.Width, l.Height, forced})
			}
		}
	}
	return out
}

// Breaks are the rules that this look can break while Wide and Narrow do not.
func (l Look) Breaks() Rules {
	if l == Wide || l == Narrow {
		return AllRules
	}
	return ColourRules
}

func (l Look) String() string {
	s := fmt.Sprintf("%s-%d", l.Theme, l.Width)
	if l.Forced {
		s += "-forced"
	}
	return s
}

// As has the tab look like that at the page that is shown and at those to come,
// which have the system's theme. A page that was told another theme is told l's.
func (t *Tab) As(ctx context.Context, l Look) error {
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(l.Width, l.Height)); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-reduced-motion", Value: "reduce"}, {Name: "prefers-color-scheme", Value: l.Theme}, {Name: "forced-colors", Value: "none"},
	}}
	if l.Forced {
		media.Features[2].Value = "active"
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	_, err := chromedp.Run(ctx, chromedp.Evaluate[any](`{ const r = document.documentElement; if (r?.dataset.theme) r.dataset.theme = "`+l.Theme+`"; document.dispatchEvent(new Event("blf:theme")); } null`))
	return err
}

// Rules are what axe looks for.
type Rules string

// The rules of a look. Those for colours are the only ones that a theme can
// break, and take a third of the time of all.
const (
	// AllRules: WCAG 2.2 A and AA, and axe's best practices.
	AllRules Rules = `{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`
	// ColourRules: contrast, and links that only their colour shows.
	ColourRules Rules = `{type: "rule", values: ["color-contrast", "link-in-text-block"]}`
)

// runAxe gives the violations of rules.
const runAxe = `(async () => {
  const r = await axe.run(document, {runOnly: %s, resultTypes: ["violations"], preload: false});
  return r.violations.map(v => v.id + ": " + v.help + "\n" + v.nodes.slice(0, 3).map(n => "    " + n.html.slice(0, 200) + "\n    " + (n.failureSummary || "").replace(/\n/g, " ")).join("\n"));
})()`

// tooWide names elements that make the page scroll sideways.
const tooWide = `(() => {
  const w = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= w) return [];
  const over = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1 && !e.closest(".scroll, pre, dialog"))
    .slice(0, 5).map(e => e.tagName.toLowerCase() + "." + e.className + " " + Math.round(e.getBoundingClientRect().right));
  return over.length ? over : ["something"];
})()`

// Flaws are what axe finds by rules on the page that is shown, and what is wider
// than the window.
func (t *Tab) Flaws(ctx context.Context, by Rules) ([]string, error) {
	if has, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`"axe" in window`)); err != nil {
		return nil, err
	} else if !has {
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](axe+";null")); err != nil {
			return nil, err
		}
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](fmt.Sprintf(runAxe, by), chromedp.EvalAwaitPromise))
	if err != nil {
		return nil, err
	}
	over, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](tooWide))
	if err != nil {
		return nil, err
	}
	for _, o := range over {
		found = append(found, "wider than the window: "+o)
	}
	return found, nil
}
