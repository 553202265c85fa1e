package console

import (
	"fmt"
	"net/url"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func accountScreens() []screen {
	const admin = model.ScopeAdminAccounts
	return []screen{
		{
			path: "/accounts", file: "accounts.html", title: "Accounts", scope: admin, get: listAccounts,
			nav: &navItem{group: navAccess, label: "Accounts", icon: "account", order: 1},
		},
		{path: "/new-account", file: "account_form.html", title: "New account", scope: admin, get: newAccount, post: createAccount},
		{path: "/accounts/{account}", file: "account.html", title: "Account", scope: admin, get: showAccount},
		{path: "/accounts/{account}/edit", file: "account_form.html", title: "Edit account", scope: admin, get: editAccount, post: updateAccount},
		{path: "/accounts/{account}/delete", file: "confirm.html", title: "Delete account", scope: admin, get: askDeleteAccount, post: deleteAccount},
	}
}

// owned is the account whose keys, users or audit log a page is about: the
// caller's own, or another one that the address names.
type owned struct {
	Account string
	Foreign bool
}

func (v *visit) owned() owned {
	o := owned{Account: v.caller.AccountID}
	if id := v.query("account"); id != "" && id != o.Account {
		o = owned{Account: id, Foreign: true}
	}
	return o
}

// At is at for a page about the same account.
func (o owned) At(pattern string, values ...string) string {
	q := url.Values{}
	if o.Foreign {
		q.Set("account", o.Account)
	}
	return address(at(pattern, values...), q)
}

// above puts a page below its list, and that below the account if it is
// another one than the caller's.
func (o owned) above(a *answer, label, list string) *answer {
	if o.Foreign {
		a = a.under("Accounts", at("/accounts")).under(o.Account, at("/accounts/{}", o.Account))
	}
	if label == "" {
		return a
	}
	return a.under(label, o.At(list))
}

type accountsView struct {
	Accounts []client.Account
	Pager    pager
}

func listAccounts(v *visit) (*answer, error) {
	p, err := v.api.Accounts(v.ctx(), v.read())
	if err != nil {
		return nil, err
	}
	return v.show(accountsView{p.Results, pagerOf(p)}), nil
}

type accountView struct {
	client.Account
	// Keys and Users count what belongs to it.
	Keys, Users int
	Own         bool
}

// readAccount gives an account with what is counted of it.
func readAccount(v *visit) (a accountView, err error) {
	id := v.param("account")
	if a.Account, err = v.api.Account(v.ctx(), id, client.Read{}); err != nil {
		return a, err
	}
	a.Own = id == v.caller.AccountID
	keys, err := v.api.Keys(v.ctx(), id, client.Read{Size: 1})
	if err != nil {
		return a, err
	}
	users, err := v.api.Users(v.ctx(), id, client.Read{Size: 1})
	a.Keys, a.Users = keys.Paging.TotalResults, users.Paging.TotalResults
	return a, err
}

// At leads to the lists of the account.
func (a accountView) At(pattern string) string {
	return owned{Account: a.AccountID, Foreign: !a.Own}.At(pattern)
}

func showAccount(v *visit) (*answer, error) {
	a, err := readAccount(v)
	if err != nil {
		return nil, err
	}
	return v.show(a).titled("%s", a.AccountID).under("Accounts", at("/accounts")), nil
}

// accountForm is the form of a new account, or of the one with ID.
type accountForm struct {
	Form *form
	ID   string
	Own  bool
}

func (a accountForm) Cancel() string {
	if a.ID == "" {
		return at("/accounts")
	}
	return at("/accounts/{}", a.ID)
}

func (v *visit) accountForm(f *form) accountForm {
	id := v.param("account")
	return accountForm{Form: f, ID: id, Own: id == v.caller.AccountID}
}

func newAccount(v *visit) (*answer, error) {
	return v.show(v.accountForm(v.blank())).under("Accounts", at("/accounts")), nil
}

func createAccount(v *visit) (*answer, error) {
	f := v.form()
	a, err := v.api.CreateAccount(v.ctx(), f.Text("accountId"), f.Text("name"))
	if err != nil {
		return v.invalid(v.accountForm(f), f, err, "accountId", "name")
	}
	return v.done(at("/accounts/{}", a.AccountID), "The account %s was created. It needs a key or a user before anybody can use it.", a.AccountID), nil
}

func editAccount(v *visit) (*answer, error) {
	a, err := v.api.Account(v.ctx(), v.param("account"), client.Read{})
	if err != nil {
		return nil, err
	}
	f := v.blank()
	f.set("name", a.Name)
	f.set("disabled", fmt.Sprint(a.Disabled))
	return v.show(v.accountForm(f)).titled("Edit").under("Accounts", at("/accounts")).under(a.AccountID, at("/accounts/{}", a.AccountID)), nil
}

func updateAccount(v *visit) (*answer, error) {
	f, id := v.form(), v.param("account")
	u := client.AccountUpdate{Name: optional(f.Text("name")), Disabled: model.Some(f.Has("disabled", "true"))}
	if _, err := v.api.UpdateAccount(v.ctx(), id, u); err != nil {
		return v.invalid(v.accountForm(f), f, err, "name", "disabled")
	}
	return v.done(at("/accounts/{}", id), "The account %s was saved.", id), nil
}

// optional clears a member that is empty.
func optional(s string) model.Opt[string] {
	if s == "" {
		return model.Null[string]()
	}
	return model.Some(s)
}

func accountRemoval(v *visit) (confirmation, error) {
	a, err := readAccount(v)
	if err != nil {
		return confirmation{}, err
	}
	k := confirmation{
		Question: "Delete the account " + a.AccountID + "?", Name: a.AccountID, Verb: "Delete the account", Cancel: at("/accounts/{}", a.AccountID),
		Effects: []string{
			fmt.Sprintf("%s and %s go with it, and their sessions end.", plural(a.Keys, "key", "keys"), plural(a.Users, "user", "users")),
			"An account that still has subscriptions, profiles, authentication settings or certificates is not deleted.",
		},
	}
	if a.Own {
		k.Refused = "You are signed in with this account."
	}
	return k, nil
}

func askDeleteAccount(v *visit) (*answer, error) {
	k, err := accountRemoval(v)
	if err != nil {
		return nil, err
	}
	return v.confirm(k).under("Accounts", at("/accounts")).under(k.Name, k.Cancel), nil
}

func deleteAccount(v *visit) (*answer, error) {
	k, err := accountRemoval(v)
	if err != nil {
		return nil, err
	}
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	if err := v.api.DeleteAccount(v.ctx(), k.Name); err != nil {
		return v.refused(k, err)
	}
	return v.done(at("/accounts"), "The account %s was deleted.", k.Name), nil
}
