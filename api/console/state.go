package console

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
	return v.fragment("text/html; charset=utf-8", b), nil
}
