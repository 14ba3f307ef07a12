import { FieldType, type FieldDisplay, VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BigValue, VizRepeater } from '@grafana/ui';

import type { Drawn } from './drawn';

/** Large numbers, laid out and coloured by Grafana's own components. */
export function Stat({ panel, frames, config, theme, timeZone, width, height, replace, note }: Drawn) {
  const options = panel.options ?? {};
  const values = getFieldDisplayValues({
    fieldConfig: config,
    reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
    replaceVariables: replace,
    theme,
    data: frames,
    sparkline: options.graphMode !== 'none',
    percentChange: options.showPercentChange,
    timeZone,
  });
  note({ values: values.map((each) => described(each)) });
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, alignmentFactors, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode ?? 'value'}
          graphMode={options.graphMode ?? 'area'}
          justifyMode={options.justifyMode ?? 'auto'}
          textMode={options.textMode ?? 'auto'}
          text={options.text}
          alignmentFactors={alignmentFactors}
          percentChangeColorMode={options.percentChangeColorMode}
          disableWideLayout={options.wideLayout === false}
          theme={theme}
          width={w}
          height={h}
        />
      )}
      width={width}
      height={height}
      source={values}
      itemSpacing={3}
      renderCounter={0}
      autoGrid={true}
      orientation={options.orientation ?? VizOrientation.Auto}
    />
  );
}

function described({ display, view, colIndex, field }: FieldDisplay) {
  const source = colIndex === undefined ? undefined : view?.dataFrame.fields[colIndex];
  const meant = (field.unit ?? '').startsWith('dateTime');
  return { title: display.title, text: display.text, isTime: source?.type === FieldType.time && !meant };
}
