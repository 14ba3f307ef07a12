import { useLayoutEffect } from 'react';
import type uPlot from 'uplot';
import { type UPlotConfigBuilder, useTheme2 } from '@grafana/ui';

import type { Annotation } from '../input';

/** Annotations over a graph: a dashed line and a mark for a moment, a band for a region. */
export function Marks({ builder, annotations }: { builder: UPlotConfigBuilder; annotations: Annotation[] }) {
  const theme = useTheme2();
  useLayoutEffect(() => {
    builder.addHook('draw', (plot: uPlot) => {
      for (const { color, enabled, events } of annotations) {
        if (enabled) {
          const shown = theme.visualization.getColorByName(color);
          events.forEach((event) => mark(plot, shown, event.time, event.timeEnd));
        }
      }
    });
  }, [builder, annotations, theme]);
  return null;
}

function mark(plot: uPlot, color: string, from: number, to?: number) {
  const { ctx, bbox } = plot;
  const place = (at: number) => Math.round(plot.valToPos(at, 'x', true));
  const [left, right] = [place(from), place(to ?? from)];
  if (right < bbox.left || left > bbox.left + bbox.width) {
    return;
  }
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + 6);
  ctx.clip();
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = 1;
  ctx.setLineDash([5, 5]);
  for (const x of new Set([left, right])) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  if (right > left) {
    ctx.globalAlpha = 0.1;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
    ctx.fillRect(left, bbox.top + bbox.height, right - left, 5);
  } else {
    ctx.beginPath();
    ctx.moveTo(left - 4, bbox.top + bbox.height + 5);
    ctx.lineTo(left + 4, bbox.top + bbox.height + 5);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.fill();
  }
  ctx.restore();
}
