package console

import (
	"fmt"
	"slices"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func userScreens() []screen {
	const manage = model.ScopeAccountsManage
	return []screen{
		{
			path: "/users", file: "users.html", title: "Users", scope: manage, get: listUsers,
			nav: &navItem{group: navAccess, label: "Users", icon: "users", key: 'u', order: 3},
		},
		{path: "/new-user", file: "user_form.html", title: "New user", scope: manage, get: newUser, post: createUser},
		{path: "/users/{user}", file: "user.html", title: "User", scope: manage, get: showUser},
		{path: "/users/{user}/edit", file: "user_form.html", title: "Edit user", scope: manage, get: editUser, post: updateUser},
		{path: "/users/{user}/password", file: "user_password.html", title: "Change the password", scope: manage, get: editPassword, post: updatePassword},
		{path: "/users/{user}/delete", file: "confirm.html", title: "Delete user", scope: manage, get: askDeleteUser, post: deleteUser},
	}
}

type usersView struct {
	owned
	Users []client.User
	Pager pager
}

func listUsers(v *visit) (*answer, error) {
	o := v.owned()
	p, err := v.api.Users(v.ctx(), o.Account, v.read())
	if err != nil {
		return nil, err
	}
	return o.above(v.show(usersView{o, p.Results, pagerOf(p)}), "", ""), nil
}

// userForm is the form of a new user, or of the one with Name.
type userForm struct {
	owned
	Form     *form
	Name     string
	Scopes   []option
	Stronger bool
	Current  bool // the caller is signed in as this user
}

// Cancel is the way back.
func (u userForm) Cancel() string {
	if u.Name == "" {
		return u.At("/users")
	}
	return u.At("/users/{}", u.Name)
}

var userFields = []string{"username", "password", "scopes", "disabled"}

func newUser(v *visit) (*answer, error) {
	o := v.owned()
	return o.above(v.show(userForm{owned: o, Form: v.blank(), Scopes: v.grantable()}), "Users", "/users"), nil
}

func createUser(v *visit) (*answer, error) {
	o, f := v.owned(), v.form()
	in := client.NewUser{Username: f.Text("username"), Password: f.Value("password"), Scopes: scopesOf(f)}
	f.forget("password")
	u, err := v.api.CreateUser(v.ctx(), o.Account, in)
	if err != nil {
		return v.invalid(userForm{owned: o, Form: f, Scopes: v.grantable()}, f, err, userFields...)
	}
	return v.done(o.At("/users/{}", u.Username), "The user %s was created.", u.Username), nil
}

type userView struct {
	owned
	client.User
	Current, Stronger bool
}

// readUser gives the user of the address.
func readUser(v *visit) (userView, error) {
	o := v.owned()
	u, err := v.api.User(v.ctx(), o.Account, v.param("user"), client.Read{})
	return userView{owned: o, User: u, Current: u.Username == v.caller.Username, Stronger: v.stronger(u.Scopes)}, err
}

func (u userView) form(v *visit, f *form) userForm {
	return userForm{owned: u.owned, Form: f, Name: u.Username, Scopes: v.grantable(), Stronger: u.Stronger, Current: u.Current}
}

// under puts a page below the user.
func (u userView) under(a *answer) *answer {
	return u.above(a, "Users", "/users").under(u.Username, u.At("/users/{}", u.Username))
}

func showUser(v *visit) (*answer, error) {
	u, err := readUser(v)
	if err != nil {
		return nil, err
	}
	return u.above(v.show(u).titled("%s", u.Username), "Users", "/users"), nil
}

func editUser(v *visit) (*answer, error) {
	u, err := readUser(v)
	if err != nil {
		return nil, err
	}
	f := v.blank()
	setScopes(f, u.Scopes)
	f.set("disabled", fmt.Sprint(u.Disabled))
	return u.under(v.show(u.form(v, f)).titled("Edit")), nil
}

func updateUser(v *visit) (*answer, error) {
	u, err := readUser(v)
	if err != nil {
		return nil, err
	}
	f := v.form()
	change := client.UserUpdate{Disabled: model.Some(f.Has("disabled", "true"))}
	if scopes := scopesOf(f); !u.Stronger && !slices.Equal(scopes, u.Scopes) {
		change.Scopes = model.Some(scopes)
	}
	if _, err := v.api.UpdateUser(v.ctx(), u.Account, u.Username, change); err != nil {
		return v.invalid(u.form(v, f), f, err, userFields...)
	}
	return v.done(u.At("/users/{}", u.Username), "The user %s was saved.", u.Username), nil
}

func editPassword(v *visit) (*answer, error) {
	u, err := readUser(v)
	if err != nil {
		return nil, err
	}
	return u.under(v.show(u.form(v, v.blank()))), nil
}

func updatePassword(v *visit) (*answer, error) {
	u, err := readUser(v)
	if err != nil {
		return nil, err
	}
	f := v.form()
	password, again := f.Value("password"), f.Value("again")
	f.forget("password", "again")
	view := u.form(v, f)
	if password != again {
		err := &model.Error{Code: model.CodeInvalid, Field: "again", Message: "is not the same as the password above"}
		return v.invalid(view, f, err, "again")
	}
	if _, err := v.api.UpdateUser(v.ctx(), u.Account, u.Username, client.UserUpdate{Password: model.Some(password)}); err != nil {
		return v.invalid(view, f, err, "password")
	}
	return v.done(u.At("/users/{}", u.Username), "The password of %s was changed.", u.Username), nil
}

func userRemoval(v *visit) (confirmation, userView, error) {
	u, err := readUser(v)
	if err != nil {
		return confirmation{}, u, err
	}
	k := confirmation{
		Question: "Delete the user " + u.Username + "?", Name: u.Username, Verb: "Delete the user", Cancel: u.At("/users/{}", u.Username),
		Effects: []string{"The user is signed out everywhere and cannot sign in again.", "What the user has made stays, and so does the audit log."},
	}
	if u.Current {
		k.Effects = append(k.Effects, "You are signed in as this user: you will be signed out.")
	}
	return k, u, nil
}

func askDeleteUser(v *visit) (*answer, error) {
	k, u, err := userRemoval(v)
	if err != nil {
		return nil, err
	}
	return u.under(v.confirm(k)), nil
}

func deleteUser(v *visit) (*answer, error) {
	k, u, err := userRemoval(v)
	if err != nil {
		return nil, err
	}
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	if err := v.api.DeleteUser(v.ctx(), u.Account, u.Username); err != nil {
		return v.refused(k, err)
	}
	return v.done(u.At("/users"), "The user %s was deleted.", u.Username), nil
}
