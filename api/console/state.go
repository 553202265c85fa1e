package console

import "net/http"

// stateFile is any file whose set of templates has the shared ones.
const stateFile = "problem.html"

func stateScreens() []screen {
	return []screen{{path: "/state", get: showState}}
}

// showState answers with the part of a page that says whether changes can work,
// for pages that are open already.
func showState(v *visit) (*answer, error) {
	b, err := v.c.pages.part(stateFile, "state", v.page(v.show(nil)))
	if err != nil {
		return nil, err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(b) // the browser is gone: there is nobody to tell
	return &answer{written: true}, nil
}
