// The custom elements that every page has. Pages work without them.
import "./copy.js";
import "./time.js";
import "./theme.js";
import "./palette.js";
import "./keys.js";
import "./forms.js";
import "./live.js";
