import { TableNG } from '@grafana/ui/unstable';

import type { Drawn } from './drawn';
import { Nothing } from './nothing';

const HEIGHTS = { sm: 'sm', md: 'md', lg: 'lg', auto: 'auto' };

/** Grafana's own table. */
export function Table(drawn: Drawn) {
  const { panel, frames, config, width, height, range, note } = drawn;
  const options = panel.options ?? {};
  const frame = frames[options.frameIndex ?? 0] ?? frames[0];
  if (!frame || frame.fields.length === 0 || frame.length === 0) {
    return <Nothing {...drawn} />;
  }
  note({ frame });
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      noHeader={options.showHeader === false}
      showTypeIcons={options.showTypeIcons}
      resizable={true}
      sortBy={options.sortBy}
      cellHeight={(HEIGHTS as any)[options.cellHeight ?? 'sm']}
      maxRowHeight={options.maxRowHeight}
      enablePagination={options.enablePagination ?? options.footer?.enablePagination}
      frozenColumns={options.frozenColumns?.left}
      columnMinWidth={(config.defaults.custom as any)?.minWidth}
      noValue={config.defaults.noValue}
      timeRange={range}
      fieldConfig={config}
      initialRowIndex={undefined}
    />
  );
}
