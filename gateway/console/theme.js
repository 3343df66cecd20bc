// Before the first paint, and so not a module: a dark page must not flash white.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
