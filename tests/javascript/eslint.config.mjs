// The rules for all JavaScript that git tracks; `./vixtract test lint` gives the files.
import js from '@eslint/js';
import globals from 'globals';

// Where a file runs decides how it is read and which names are there.
const PLACES = [
  // Pages load their scripts as modules.
  { files: ['web/**/*.js'], sourceType: 'module', names: globals.browser },
  // JupyterLab loads an extension as a script, whose names all others share.
  { files: ['jupyter/**/*.js'], sourceType: 'script', names: globals.browser },
  { files: ['cronicle/**/*.js'], sourceType: 'commonjs', names: globals.node },
  // njs, nginx's own interpreter.
  { files: ['nginx/**/*.js'], sourceType: 'module', names: { ngx: 'readonly', setTimeout: 'readonly', clearTimeout: 'readonly' } },
  { files: ['**/*.mjs'], sourceType: 'module', names: globals.node },
];

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // njs has no `catch` without a name.
      'no-unused-vars': ['error', { caughtErrors: 'none' }],
      eqeqeq: 'error',
      'no-eval': 'error',
      'no-implicit-globals': ['error', { lexicalBindings: true }],
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-script-url': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  ...PLACES.map(({ files, sourceType, names }) => ({ files, languageOptions: { sourceType, globals: names } })),
];
