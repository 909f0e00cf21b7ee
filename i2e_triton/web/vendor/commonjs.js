// gifenc.js is a CommonJS module: it adds its functions to `exports`.
var exports = {};
