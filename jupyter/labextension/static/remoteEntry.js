// The portal from inside JupyterLab: tiles, "Schedule…" in menus and the notebook's toolbar.
// A prebuilt extension written by hand: it takes what it needs from the modules that Lab shares, so
// there is nothing to build. Everything it opens is a page of the portal, in a new tab.
'use strict';

(function () {
  const NAME = 'vixtract';
  const CATEGORY = 'ViXtract';
  const PORTAL = '/portal';
  const NEEDED = [
    '@jupyterlab/apputils', '@jupyterlab/filebrowser', '@jupyterlab/launcher', '@jupyterlab/mainmenu',
    '@jupyterlab/notebook', '@jupyterlab/ui-components',
  ];
  const DEADLINE_MS = 2000;

  // English texts of the extension; the portal has their translations, and knows the reader's language.
  const texts = [];
  const mark = (text) => { texts.push(text); return text; };
  let translations = {};
  const say = (text) => translations[text] || text;

  async function translate() {
    const query = new URLSearchParams(texts.map((text) => ['text', text]));
    const abort = new AbortController();
    const late = setTimeout(() => abort.abort(), DEADLINE_MS);
    try {
      const reply = await fetch(`${PORTAL}/texts?${query}`, { signal: abort.signal });
      if (reply.ok) translations = await reply.json();
    } catch (error) {
      // Lab is complete in English.
    } finally {
      clearTimeout(late);
    }
  }

  const CLOCK = '<circle cx="12" cy="12" r="9" stroke="#616161" class="jp-icon3" stroke-width="2"/><path d="M12 7v5.5l3.5 2" stroke="#616161" class="jp-icon3" stroke-width="2" stroke-linecap="round"/>';
  const RUNS = '<path d="M4 6h16M4 12h16M4 18h10" stroke="#616161" class="jp-icon3" stroke-width="2" stroke-linecap="round"/>';
  const HOUSE = '<path d="M4 11l8-7 8 7v9h-5v-6H9v6H4z" stroke="#616161" class="jp-icon3" stroke-width="2" stroke-linejoin="round"/>';
  const draw = (shape) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24"><g fill="none">${shape}</g></svg>`;
  const TILES = [
    { id: 'schedules', label: mark('Schedules'), caption: mark('When notebooks run by themselves'), url: `${PORTAL}/`, shape: CLOCK },
    { id: 'runs', label: mark('Runs'), caption: mark('What ran, and how it ended'), url: `${PORTAL}/runs`, shape: RUNS },
    { id: 'home', label: mark('Home'), caption: mark('The home page of ViXtract'), url: '/', shape: HOUSE },
  ];

  const SCHEDULE = mark('Schedule…');
  const SCHEDULE_CAPTION = mark('Let this notebook run by itself');

  let scope;

  function shared(name) {
    const versions = scope[name];
    return Promise.resolve(versions[Object.keys(versions)[0]].get()).then((factory) => factory());
  }

  function makePlugin([apputils, filebrowser, launchers, mainmenu, notebooks, components]) {
    const icon = (id, shape) => new components.LabIcon({ name: `${NAME}:${id}`, svgstr: draw(shape) });
    const open = (url) => window.open(url, '_blank', 'noopener');

    return {
      id: `${NAME}:plugin`,
      autoStart: true,
      optional: [
        launchers.ILauncher, filebrowser.IFileBrowserFactory, notebooks.INotebookTracker,
        mainmenu.IMainMenu, apputils.ICommandPalette,
      ],
      activate(app, launcher, browsers, tracker, menu, palette) {
        const formOf = (path) => `${PORTAL}/schedules/new?notebook=${encodeURIComponent(app.serviceManager.contents.localPath(path))}`;
        const clock = icon('clock', CLOCK);

        TILES.forEach((tile, rank) => {
          const command = `${NAME}:${tile.id}`;
          app.commands.addCommand(command, {
            label: say(tile.label),
            caption: say(tile.caption),
            icon: icon(tile.id, tile.shape),
            execute: () => open(tile.url),
          });
          if (launcher) launcher.add({ command, category: CATEGORY, rank });
          if (palette) palette.addItem({ command, category: CATEGORY });
        });

        // The file browser's menu.
        const selected = () => {
          const widget = browsers && browsers.tracker.currentWidget;
          const items = widget ? [...widget.selectedItems()] : [];
          return items.length === 1 && items[0].type === 'notebook' ? items[0].path : '';
        };
        app.commands.addCommand(`${NAME}:schedule-file`, {
          label: say(SCHEDULE),
          caption: say(SCHEDULE_CAPTION),
          icon: clock,
          isVisible: () => selected() !== '',
          execute: async () => {
            const path = selected();
            if (!path) return;
            const panel = tracker && tracker.find((each) => each.context.path === path);
            await openForm(path, panel);
          },
        });
        app.contextMenu.addItem({
          command: `${NAME}:schedule-file`,
          selector: '.jp-DirListing-item[data-file-type="notebook"]',
          rank: 3,
        });

        // What is on the screen is what is to run: an unsaved notebook is saved first.
        async function openForm(path, panel) {
          if (!panel || !panel.context.model.dirty) {
            open(formOf(path));
            return;
          }
          // Opened at once, or the browser takes it for an advertisement.
          const tab = window.open('about:blank', '_blank');
          try {
            await panel.context.save();
          } finally {
            if (tab) {
              tab.opener = null;
              tab.location.href = formOf(panel.context.path);
            }
          }
        }

        if (!tracker) return;
        const current = () => (tracker.currentWidget === app.shell.currentWidget ? tracker.currentWidget : null);
        app.commands.addCommand(`${NAME}:schedule-notebook`, {
          label: say(SCHEDULE),
          caption: say(SCHEDULE_CAPTION),
          icon: clock,
          isEnabled: () => current() !== null,
          execute: () => {
            const panel = current();
            return panel ? openForm(panel.context.path, panel) : undefined;
          },
        });
        if (menu) menu.fileMenu.addGroup([{ command: `${NAME}:schedule-notebook` }], 45);
        if (palette) palette.addItem({ command: `${NAME}:schedule-notebook`, category: CATEGORY });
        // A link of the portal names the cell that failed. Lab itself looks for it only in a notebook
        // that is open already.
        let place = /^#cell-id=[\w-]+$/.test(window.location.hash) ? window.location.hash : '';
        async function goToPlace(panel) {
          if (!place || !decodeURIComponent(window.location.pathname).endsWith(`/tree/${panel.context.path}`)) return;
          const fragment = place;
          place = '';
          await panel.context.ready;
          await panel.revealed;
          const index = panel.content.widgets.findIndex((cell) => `#cell-id=${cell.model.id}` === fragment);
          if (index < 0) return;
          panel.content.activeCellIndex = index;
          await panel.content.setFragment(fragment);
        }

        app.docRegistry.addWidgetExtension('Notebook', {
          createNew(panel) {
            goToPlace(panel);
            const button = new apputils.ToolbarButton({
              className: 'vixtract-schedule',
              icon: clock,
              // The toolbar leaves no room between the two.
              label: `\u00a0${say(SCHEDULE)}`,
              tooltip: say(SCHEDULE_CAPTION),
              onClick: () => openForm(panel.context.path, panel),
            });
            panel.toolbar.insertItem(10, 'vixtractSchedule', button);
            return button;
          },
        });
      },
    };
  }

  // plotly's own renderer is half of what a first visit loads, and most people draw nothing with it: the
  // image takes it off the list of what Lab loads at once; here it is loaded with the first figure.
  function makePlotly({ Panel }) {
    const MIME = 'application/vnd.plotly.v1+json';
    let own;

    function load() {
      own = own || window._JUPYTERLAB['jupyterlab-plotly'].get('./mimeExtension')
        .then((factory) => [].concat(factory().default)[0].rendererFactory)
        // The next figure tries again.
        .catch((error) => { own = undefined; throw error; });
      return own;
    }

    class Figure extends Panel {
      constructor(options) {
        super();
        this.options = options;
      }

      async renderModel(model) {
        this.model = model;
        const factory = await load();
        if (this.isDisposed) return;
        if (!this.inner) {
          this.inner = factory.createRenderer(this.options);
          this.addWidget(this.inner);
        }
        await this.inner.renderModel(this.model);
      }
    }

    return [{
      id: `${NAME}:plotly`,
      rendererFactory: { safe: true, mimeTypes: [MIME], createRenderer: (options) => new Figure(options) },
      rank: 2,
      dataType: 'json',
      fileTypes: [{ name: 'plotly', mimeTypes: [MIME], extensions: ['.plotly', '.plotly.json'] }],
      documentWidgetFactoryOptions: {
        name: 'Plotly', primaryFileType: 'plotly', fileTypes: ['plotly', 'json'], defaultFor: ['plotly'],
      },
    }];
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init(given) { scope = given; },
    async get(module) {
      const made = module === './plotly'
        ? makePlotly(await shared('@lumino/widgets'))
        : makePlugin((await Promise.all([translate(), ...NEEDED.map(shared)])).slice(1));
      return () => ({ __esModule: true, default: made });
    },
  };
})();
